"""The sabotages: each takes one safeguard away, and names the test that must then fail.

An edit is (file, text, replacement); the text must be in the file exactly once, so that a sabotage whose
code has changed is noticed and not skipped.
"""

from __future__ import annotations

from typing import NamedTuple

Edit = tuple[str, str, str]


class Sabotage(NamedTuple):
    """One safeguard less."""

    name: str
    test: str
    edits: list[Edit]


CLAIMS = "tests/fault/test_claims.py::"
EDGES = "tests/process/test_api_edges.py::"
SLOW = "tests/process/test_api_slow_clients.py::"
RAW = "tests/process/test_api_raw_requests.py::test_each_odd_request_is_answered_as_what_it_is"
LANES = "tests/fault/test_lanes.py::"
DEATHS = "tests/fault/test_deaths.py::"
TRANSACTION = "tests/integration/test_transaction.py::"
GATE = "tests/unit/test_outcome.py::"
LEFTOVERS = "tests/fault/test_leftovers.py::"
LIVENESS = "tests/fault/test_liveness.py::"
REDIS = "tests/fault/test_redis.py::"
SESSION = "tests/integration/test_session.py::"
SETTLING = "tests/fault/test_settling.py::"
LINES = "tests/unit/test_log_lines.py::"
SUBMISSION = "tests/fault/test_submission.py::"

BOUNDED = "tests/integration/test_bounded_reads.py::test_a_statement_reads_a_bounded_number_of_rows"
SETTLE = "tests/integration/test_statements_settle.py::"
UPKEEP = "tests/integration/test_statements_upkeep.py::"
WAITING = "tests/integration/test_waiting.py::"
WALK = "tests/integration/test_statements_walk.py::"

SQL = "taskhub/store/sql/"

PUSHED_RETRIES = """\
        again = [(0.0, job_id) for job_id, status in result.statuses.items() if status == "queued"]
        self._broker.push_again(self._batch.queue, 4, again)
"""

FAILURES = (
    "tests/process/test_worker_failures.py::"
    "test_a_failed_job_says_where_and_by_which_errors_also_if_its_child_dies_before_it_can"
)

SABOTAGES = [
    Sabotage(
        "a walk that somebody has deleted never begins again",
        "tests/fault/test_lost_pushes.py::test_a_lost_push_is_found_after_somebody_has_emptied_the_walks_table",
        [("taskhub/maintenance/walk.py", "            begin_walk(self._store)\n", "")],
    ),
    Sabotage(
        "the bell of a queue rings on for what is taken already",
        "tests/contract/test_broker.py::test_a_take_that_leaves_nothing_silences_the_bell",
        [("taskhub/broker/scripts/take.lua", "if seen == lists and remain == 0 then", "if #taken == 0 then")],
    ),
    Sabotage(
        "after a bell, a child looks into all of its many queues",
        "tests/unit/test_queue_rotation.py::test_of_many_queues_those_that_were_just_empty_are_left_to_their_bells",
        [
            (
                "taskhub/child/served_queues.py",
                "self._rotation.order(with_resting=not self._are_many)",
                "self._rotation.order()",
            )
        ],
    ),
    Sabotage(
        "a turn among many queues looks at all of them",
        "tests/unit/test_queue_rotation.py::test_a_turn_among_many_queues_is_as_cheap_as_among_few",
        [
            (
                "taskhub/child/served_queues.py",
                "        while self._waiting:\n",
                "        [queue for queue in self._weights]\n        while self._waiting:\n",
            )
        ],
    ),
    Sabotage(
        "a queue that was empty claims arrears",
        "tests/unit/test_queue_rotation.py::test_a_queue_that_was_empty_for_long_has_no_arrears_to_claim",
        [
            (
                "taskhub/child/served_queues.py",
                "self._now = max(self._now, self._due[queue])",
                "self._now = self._due[queue]",
            )
        ],
    ),
    Sabotage(
        "libpq's own variables are read by libpq alone",
        "tests/unit/test_config.py::test_a_port_of_libpqs_variables_that_is_none_is_told_by_its_name",
        [("taskhub/settings/libpq_names.py", 'if parameter == "port" and', "if False and")],
    ),
    Sabotage(
        "a child that fails before its first job waits for ever",
        LEFTOVERS + "test_a_child_in_which_our_own_code_fails_before_its_first_job_is_replaced",
        [
            (
                "taskhub/child/troubles.py",
                "return _TROUBLES if self._ground.was_used else _UNUSED_TROUBLES",
                "return _TROUBLES if self._ground.was_used else 10**9",
            )
        ],
    ),
    Sabotage(
        "nobody looks whether the state file is still whole",
        "tests/process/test_worker_state_file.py",
        [("supervisor/supervisor.py", '        self._steps.run("memory", self._check_memory, now_s)\n', "")],
    ),
    Sabotage(
        "what a damaged state file does not tell of is left to those who charge",
        "tests/fault/test_isolation.py::test_what_the_file_of_a_dead_worker_does_not_tell_of_is_charged_to_nobody",
        [
            (
                "taskhub/sidecar/predecessor_recovery.py",
                "            self._recover_unrecorded(records, sound)\n",
                "",
            )
        ],
    ),
    Sabotage(
        "what fails in our own completion is the handler's fault",
        TRANSACTION + "test_whatever_fails_in_our_own_completion_interrupts_the_job",
        [
            (
                "taskhub/store/transaction.py",
                "_OURS = (Exception, SystemExit)",
                "_OURS: tuple[type[BaseException], ...] = ()",
            )
        ],
    ),
    Sabotage(
        "the driver of Redis looks names up itself",
        "tests/integration/test_places.py::test_a_name_of_redis_that_is_looked_up_for_ever_is_an_absent_redis",
        [
            (
                "taskhub/broker/redis_client.py",
                '    place["connection_class"] = _NamedAndSecret if address.scheme == "rediss" else _Named\n',
                "",
            )
        ],
    ),
    Sabotage(
        "the worker's port leaves IPv4 out",
        "tests/unit/test_worker_port.py::test_every_address_of_ipv6_is_every_address_of_ipv4_too",
        [("taskhub/sidecar/http_port.py", 'if host != "::" or not socket', 'if host != "" or not socket')],
    ),
    Sabotage(
        "a limit of memory that no child can keep is taken",
        "tests/process/test_worker_boot.py::test_a_hard_limit_of_memory_below_an_empty_child_is_named_and_ends_the_start",
        [("supervisor/boot.py", "        if limit_mb and used_mb > limit_mb:", "        if False:")],
    ),
    Sabotage(
        "a schema that disallows running code is not noticed",
        LIVENESS + "test_once_the_schema_does_not_allow_this_code_nothing_starts_and_nothing_is_charged",
        [
            (
                "taskhub/sidecar/heartbeat.py",
                "        self._require_allowed()\n        self._link",
                "        self._link",
            )
        ],
    ),
    Sabotage(
        "a locked history of the schema silences the heartbeat",
        LIVENESS + "test_a_locked_history_of_the_schema_silences_no_heartbeat",
        [
            (
                "taskhub/sidecar/heartbeat.py",
                "        except StoreUnavailableError:  #",
                "        except ZeroDivisionError:  #",
            )
        ],
    ),
    Sabotage(
        "NaN in a dataclass is kept as null",
        "tests/unit/test_strict_json.py::test_what_is_not_finite_is_refused_wherever_it_stands",
        [("taskhub/domain/strict_json.py", "                storable.plain(value)", "                pass")],
    ),
    Sabotage(
        "a short password is told",
        "tests/unit/test_addresses.py::test_a_short_password_is_hidden_where_a_value_stands",
        [("taskhub/masking.py", 'return _short.sub("***", text) if _short else text', "return text")],
    ),
    Sabotage(
        "a worker that was declared dead restarts blindly",
        "tests/process/test_worker_upgrade.py::test_a_worker_that_was_declared_dead_waits_for_files_to_restart",
        [("supervisor/restart.py", "            reason = verdict.reason\n", '            reason = ""\n')],
    ),
    Sabotage(
        "silence counts up to the moment in which the server comes to the declaration",
        "tests/integration/test_statements_upkeep.py"
        "::test_a_declaration_that_the_server_comes_to_late_does_not_count_the_time_until_then",
        [
            (
                "taskhub/store/sql/workers/expire_workers.sql",
                "heartbeat_at < to_timestamp(:seen_s)",
                "heartbeat_at < clock_timestamp()",
            )
        ],
    ),
    Sabotage(
        "a sidecar without threads goes on without them",
        "tests/unit/test_roles.py::test_a_process_that_can_have_no_thread_any_more_ends",
        [("taskhub/roles/role_manager.py", "if thread.lacks_thread(now_s):", "if False:")],
    ),
    Sabotage(
        "a migration is no transaction together with its record",
        "tests/integration/test_migrations.py"
        "::test_a_runner_whose_session_ends_at_any_of_its_own_statements_goes_on_by_itself",
        [("taskhub/store/migrations.py", '    connection.execute("BEGIN")\n', "")],
    ),
    Sabotage(
        "a refused claim is told again and again",
        "tests/process/test_worker_claims.py"
        "::test_whatever_postgresql_answers_to_a_claim_is_said_once_and_charged_to_nobody",
        [("taskhub/services/execution/claim.py", "            if finished:  #", "            if True:  #")],
    ),
    Sabotage(
        "a child does not say whose lock it waits for",
        "tests/process/test_worker_claims.py"
        "::test_a_child_whose_slot_somebody_has_locked_waits_and_says_once_at_which_table",
        [("taskhub/store/connection.py", "{_waited_for(error)}", "")],
    ),
    Sabotage(
        "the pauses between two starts of the sidecar do not grow",
        "tests/unit/test_sidecar_process.py::test_the_pause_before_another_sidecar_doubles_up_to_five_seconds",
        [("supervisor/sidecar_process.py", "_RESTART_S * 2.0 ** min(self._deaths - 1, 16)", "_RESTART_S")],
    ),
    Sabotage(
        "a reload that comes too early ends the worker",
        "tests/process/test_worker_boot.py::test_a_reload_that_is_asked_for_while_the_worker_begins_does_not_end_it",
        [("supervisor/__main__.py", "signal.signal(signal.SIGHUP, signal.SIG_IGN)", "pass")],
    ),
    Sabotage(
        "a hung role stays away for half a minute",
        "tests/unit/test_roles.py::test_a_role_that_ended_the_last_process_rests_no_longer_than_it_would_after_failures",
        [("taskhub/roles/role_thread.py", "self._rest(self._plan.retry_cap_s)", "self._rest(_LAST_RETRY_S)")],
    ),
    Sabotage(
        "what a module prints goes where the log goes",
        "tests/process/test_worker_output.py::test_what_a_module_prints_when_it_is_imported_is_a_line_of_the_log_and_waits_for_no_reader",
        [
            (
                "supervisor/boot.py",
                "with discarding_output(), signals.interrupting(within_s):",
                "with signals.interrupting(within_s):",
            )
        ],
    ),
    Sabotage(
        "a pass reads few rows, however many there are",
        "tests/fault/test_lost_pushes.py::"
        "test_a_lost_push_behind_150_000_rows_is_found_while_a_foreign_transaction_is_open",
        [("taskhub/maintenance/reconciler.py", "_LAGGING_READINGS = 20, 4, 20", "_LAGGING_READINGS = 2, 4, 20")],
    ),
    Sabotage(
        "places behind the walk are not looked after",
        "tests/fault/test_lost_pushes.py::test_a_thousand_queues_are_told_within_five_passes_of_a_flush",
        [("taskhub/maintenance/reconciler.py", "for _ in range(_LAGGING_READINGS):", "for _ in range(0):")],
    ),
    Sabotage(
        "a job's transaction belongs to whoever uses it first",
        "tests/unit/test_run_job.py::test_another_thread_of_the_handlers_may_not_begin_its_jobs_transaction",
        [("taskhub/child/run_job.py", "return (os.getpid(), threading.get_ident()) == self._home", "return True")],
    ),
    Sabotage(
        "a clock that was set back is not noticed",
        "tests/fault/test_clocks.py::test_what_was_to_run_at_once_does_after_the_clock_was_set_back",
        [("taskhub/maintenance/reconciler.py", "        if turn.was_set_back:\n", "        if False:\n")],
    ),
    Sabotage(
        "rows of one moment are passed by",
        "tests/fault/test_clocks.py::test_thousands_of_the_same_moment_are_all_given_their_time",
        [(SQL + "schedule/revive_jobs.sql", " AND k.id NOT IN (SELECT id FROM revived)", "")],
    ),
    Sabotage(
        "a batch waits for a row that somebody has locked",
        CLAIMS + "test_a_row_that_somebody_has_locked_holds_up_no_other_of_its_batch",
        [
            (
                "taskhub/services/execution/claim_sender.py",
                "                    self._leave_out_locked(claim)\n        raise",
                "                    pass\n        raise",
            )
        ],
    ),
    Sabotage(
        "a locked row of a claim in doubt is left out",
        CLAIMS + "test_a_locked_row_of_a_claim_that_may_have_been_carried_out_ends_its_slot_alone[carried_out]",
        [
            (
                "taskhub/services/execution/claim_sender.py",
                "        if claim.is_in_doubt:\n            return\n",
                "",
            ),
            (
                "taskhub/services/execution/claim_sender.py",
                "if isinstance(error, BlockedError) and was_in_doubt",
                "if False and was_in_doubt",
            ),
        ],
    ),
    Sabotage(
        "a claim in doubt is sent again for as long as a row of it is locked",
        CLAIMS + "test_a_locked_row_of_a_claim_that_may_have_been_carried_out_ends_its_slot_alone[never_arrived]",
        [
            (
                "taskhub/services/execution/claim_sender.py",
                "if isinstance(error, BlockedError) and was_in_doubt",
                "if False and was_in_doubt",
            )
        ],
    ),
    Sabotage(
        "a pause hides what a claim in doubt has got",
        CLAIMS + "test_what_a_claim_in_doubt_has_got_runs_although_its_queue_was_paused_meanwhile",
        [
            (
                SQL + "claims/settle_and_claim.sql",
                "RETURNING s.lease IS DISTINCT FROM :claim_lease AS",
                "RETURNING p.yes AS",
            ),
        ],
    ),
    Sabotage(
        "a claim without Redis whose answer was lost is forgotten",
        CLAIMS
        + "test_what_a_claim_without_redis_has_got_whose_answer_was_lost_is_given_back_though_nothing_else_waits",
        [
            (
                "taskhub/services/execution/store_claim.py",
                "self.is_in_doubt = self.is_in_doubt or error.outcome_unknown",
                "pass",
            )
        ],
    ),
    Sabotage(
        "the completion goes to whatever table the handler made",
        TRANSACTION + "test_whatever_a_job_does_to_its_session_it_is_completed_and_the_next_meets_nothing_of_it",
        [("taskhub/store/transaction.py", '_completion(self._schema + ".")', '_completion("")')],
    ),
    Sabotage(
        "a session goes to the next job as it is",
        TRANSACTION + "test_whatever_a_job_does_to_its_session_it_is_completed_and_the_next_meets_nothing_of_it",
        [
            (
                "taskhub/store/transaction.py",
                "session.clean_ordinary(self._raw, within_s=_CLEAN_WITHIN_S, settings={})",
                "self._raw.rollback()",
            )
        ],
    ),
    Sabotage(
        "a commit in doubt counts as failed",
        TRANSACTION + "test_a_commit_in_doubt_that_happened_counts",
        [
            (
                "taskhub/services/execution/transaction.py",
                "            self._state = State.DOUBTFUL\n            self._resolve(error)",
                "            self._undo()\n            raise",
            )
        ],
    ),
    Sabotage(
        "a lost connection is charged",
        "tests/integration/test_statements_settle.py::test_an_interruption_is_no_attempt",
        [
            (
                SQL + "settlements/settle_failures.sql",
                "least(j.interruptions + (d.cause = 'interrupted')::int, 10)",
                "least(j.interruptions, 0)",
            )
        ],
    ),
    Sabotage(
        "payloads without a bound",
        "tests/integration/test_statements_claim.py::test_payloads_beyond_the_bytes_of_a_batch_stay_where_they_are",
        [(SQL + "claims/settle_and_claim.sql", "WHERE before < :most_bytes", "")],
    ),
    Sabotage(
        "outcomes that could not be settled are gone",
        "tests/unit/test_batch.py::test_outcomes_whose_settlement_fails_come_before_newer_ones_in_their_old_order",
        [
            (
                "taskhub/child/batch.py",
                "        block = list(kept)\n        yield block",
                "        block, kept = list(kept), deque()\n        yield block",
            )
        ],
    ),
    Sabotage(
        "a time's own zone is asked by orjson",
        f"{GATE}test_a_value_that_is_not_what_its_class_promises_ends_its_job_and_not_the_process",
        [("taskhub/domain/storable.py", "        return as_plain(value)", "        return value")],
    ),
    Sabotage(
        "what a client's payload says chooses the handler",
        "tests/unit/test_asked.py::test_a_payload_that_names_another_type_is_refused",
        [("taskhub/domain/asked.py", 'if payload.get("type", type) != type:', "if False:")],
    ),
    Sabotage(
        "a handler runs whatever its payload is",
        "tests/unit/test_run_job.py::test_a_payload_that_does_not_fit_fails_once_and_for_good",
        [("taskhub/handlers/running.py", "return function if schema is None else", "return function if True else")],
    ),
    Sabotage(
        "a submission by arguments is sent whatever they are",
        "tests/integration/test_job_types.py::test_what_is_wrong_with_a_submission_is_said_at_once",
        [("taskhub/job_types.py", "if self._takes is not None:", "if False:")],
    ),
    Sabotage(
        "a handler is not told that its worker drains",
        "tests/unit/test_run_job.py::test_a_handler_is_told_to_stop_when_its_worker_drains_or_its_time_is_over",
        [("taskhub/child/run_job.py", "return not self._link.is_wanted() or self.are_due()", "return self.are_due()")],
    ),
    Sabotage(
        "the cause of a lost transaction is asked of its class",
        "tests/unit/test_run_job.py::test_a_lost_transaction_whose_class_hides_its_cause_is_an_interruption",
        [("taskhub/child/failure_policy.py", "_CAUSE_OF(error)", "error.__cause__")],
    ),
    Sabotage(
        "whoever ends the process, the job that runs is charged",
        f"{LEFTOVERS}test_a_thread_that_one_job_leaves_and_that_ends_the_process_is_not_charged_to_the_next",
        [("taskhub/child/exits.py", "            link.spare_task()", "            pass")],
    ),
    Sabotage(
        "any thread is an excuse",
        f"{LEFTOVERS}test_a_thread_that_ends_the_process_during_its_own_job_is_its_jobs",
        [("taskhub/child/exits.py", "if own and present and own != present:", "if True:")],
    ),
    Sabotage(
        "stale ids are named one by one",
        f"{REDIS}test_a_long_list_of_what_is_no_job_any_more_delays_the_job_behind_it_for_a_moment",
        [("taskhub/child/batch_size.py", "if not payloads:", "if not payloads and False:")],
    ),
    Sabotage(
        "half a surrogate is kept in an error's text",
        GATE + "test_any_exception_raised_is_an_outcome",
        [
            ("taskhub/domain/storable.py", '"utf-8", "backslashreplace"', '"utf-8", "surrogatepass"'),
            (
                "taskhub/domain/storable.py",
                'clean[:limit].decode("utf-8", "ignore")',
                'clean.decode("utf-8", "surrogatepass")',
            ),
        ],
    ),
    Sabotage(
        "NaN is stored as null",
        GATE + "test_no_nan_is_ever_stored_as_null",
        [("taskhub/domain/storable.py", "if not math.isfinite(value):", "if value != value and False:")],
    ),
    Sabotage(
        "a text is copied before it is cut",
        GATE + "test_a_large_text_is_cut_before_it_is_copied",
        [
            (
                "taskhub/domain/storable.py",
                "part = str.__getitem__(words, slice(0, limit))",
                "part = str.__getitem__(words, slice(0, None))",
            )
        ],
    ),
    Sabotage(
        "a failure that PostgreSQL refuses is sent as it is, for ever",
        "tests/integration/test_settle.py::test_what_the_gate_let_through_by_mistake_fails_alone",
        [
            (
                "taskhub/services/execution/settle.py",
                "        if len(outcomes) > 1:\n            return _by_halves(",
                "        if len(outcomes) > 99:\n            return _by_halves(",
            )
        ],
    ),
    Sabotage(
        "a state file with holes, which kill on a full disk",
        "tests/unit/test_memory.py::test_the_room_of_every_slot_in_use_is_on_the_disk_before_it_is_used",
        [
            (
                "supervisor/shared/file.py",
                "os.posix_fallocate(descriptor, 0, needed_bytes(slots))\n            os.ftr",
                "os.ftr",
            )
        ],
    ),
    Sabotage(
        "counts are mapped before the disk has given their room",
        "tests/unit/test_counts_file.py::test_no_part_of_a_mapped_file_is_a_hole",
        [
            (
                "taskhub/metrics/counts_file.py",
                "os.posix_fallocate(self._file, 0, size)",
                "os.ftruncate(self._file, size)",
            )
        ],
    ),
    Sabotage(
        "a successor that does not ask whether all processes are gone",
        "tests/unit/test_state_folder.py::test_a_living_neighbour_is_nobodys_inheritance",
        [("supervisor/shared/predecessors.py", "fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)", "pass")],
    ),
    Sabotage(
        "a lock that what a job leaves running inherits",
        "tests/unit/test_state_folder.py::test_what_a_job_has_left_running_does_not_keep_its_workers_file",
        [
            (
                "supervisor/shared/file.py",
                "fcntl.lockf(self.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1)",
                "fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
            )
        ],
    ),
    Sabotage(
        "a damaged record is believed",
        "tests/unit/test_state_folder.py::test_a_record_that_cannot_be_is_not_believed_and_its_bytes_are_kept",
        [("supervisor/shared/records.py", "if not is_possible(bank):", "if False:")],
    ),
    Sabotage(
        "a damaged entry of the journal is believed",
        "tests/unit/test_journal.py::test_a_flipped_bit_ends_the_journal_before_its_entry",
        [("taskhub/domain/journal.py", "if zlib.crc32(entry) == checksum else None", "")],
    ),
    Sabotage(
        "a quick job's timer is only found after the batch",
        LEFTOVERS + "test_a_timer_that_one_job_leaves_does_not_meet_the_next_of_its_batch",
        [("taskhub/child/setters.py", "        TOUCHED.is_set = True\n", "")],
    ),
    Sabotage(
        "a process that a job has spoilt goes on",
        LEFTOVERS + "test_a_process_that_a_job_has_spoilt_is_replaced_before_the_next_and_nobody_pays",
        [("taskhub/child/clean_ground.py", "self.spoilt = self.spoilt or reason", "self.spoilt = None")],
    ),
    Sabotage(
        "a fork of a handler is deaf to signals",
        LEFTOVERS + "test_a_process_that_a_handler_forks_is_an_ordinary_one",
        [("supervisor/signals.py", "        os.register_at_fork(after_in_child=_reset_in_grandchild)\n", "")],
    ),
    Sabotage(
        "what a killed job left in a session of its own lives on",
        LEFTOVERS + "test_what_a_killed_job_left_in_sessions_of_its_own_is_gone_before_it_runs_again",
        [("supervisor/leftovers.py", "signal.pidfd_send_signal(held, signal.SIGKILL)", "pass")],
    ),
    Sabotage(
        "a child in which a job has broken our own code waits for ever",
        LEFTOVERS + "test_a_child_in_which_our_own_code_fails_for_good_after_a_job_is_replaced_and_nobody_pays",
        [("taskhub/child/troubles.py", "if self._others.failures >= self._bearable and", "if False and")],
    ),
    Sabotage(
        "a start says nothing while an import takes long",
        "tests/unit/test_trial.py::test_a_start_that_waits_long_for_an_import_names_the_module",
        [("supervisor/boot.py", "logged_at_s = began_s + _LONG_S", "logged_at_s = math.inf")],
    ),
    Sabotage(
        "a child whose handlers took sys.stderr away does not start",
        "tests/unit/test_trial.py::test_a_child_goes_on_whatever_a_module_has_made_of_the_streams",
        [
            (
                "supervisor/processes.py",
                "(signal.SIG_SETMASK, ())\n    faulthandler.register(signal.SIGUSR1, file=2, ",
                "(signal.SIG_SETMASK, ())\n    faulthandler.register(signal.SIGUSR1, ",
            )
        ],
    ),
    Sabotage(
        "a child beyond its hard limit starts the next job",
        LEFTOVERS + "test_a_child_that_a_job_left_too_large_is_replaced_before_the_next",
        [
            (
                "taskhub/child/clean_ground.py",
                "if self._memory is not None and self._memory.is_beyond():",
                "if False:",
            )
        ],
    ),
    Sabotage(
        "no lease guard: whoever has run a job may settle it",
        SETTLING + "test_w10_a_zombie_finishes_while_another_runs_the_job",
        [
            (
                SQL + "settlements/settle_completed.sql",
                "AND j.status = 'running' AND j.lease = :lease",
                "AND j.status = 'running'",
            )
        ],
    ),
    Sabotage(
        "no slot guard: a claim of the dead is carried out after the rescue",
        CLAIMS + "test_w30_killed_with_its_claim_in_flight[after_the_rescue]",
        [
            (
                SQL + "claims/settle_and_claim.sql",
                "AND s.generation = :generation AND NOT s.closed",
                "AND s.generation = :generation",
            )
        ],
    ),
    Sabotage(
        "no order among claims: a late one overwrites a later one",
        CLAIMS + "test_p6_a_claim_delayed_on_its_way_does_not_overwrite_a_later_one",
        [
            (
                SQL + "claims/settle_and_claim.sql",
                "AND (s.lease IS NOT DISTINCT FROM :lease OR s.lease = :claim_lease)",
                "AND (s.lease IS NOT DISTINCT FROM :lease OR true)",
            )
        ],
    ),
    Sabotage(
        "push before commit",
        SUBMISSION + "test_a2_the_push_comes_after_the_commit",
        [
            (
                "taskhub/services/submission/submitter.py",
                "        if is_large(rows):\n",
                "        self._doorbell.ring(rows)\n        if is_large(rows):\n",
            )
        ],
    ),
    Sabotage(
        "what a lost connection owed is not pushed again",
        "tests/contract/test_pusher.py::test_what_was_lost_with_a_connection_is_pushed_over_the_next",
        [
            (
                "taskhub/broker/pusher.py",
                "        if self._owed:\n            self._send(self._commands(self._owed))\n",
                "",
            )
        ],
    ),
    Sabotage(
        "a push does not ask whether those before it were answered",
        "tests/contract/test_pusher.py::test_a_frozen_server_holds_up_one_push_for_the_time_out",
        [
            (
                "taskhub/broker/pusher.py",
                "pushes[0].at_s - owed[0].at_s > self._timeout_s or _number_of(owed) > _MOST_OWED",
                "_number_of(owed) > _MOST_OWED",
            )
        ],
    ),
    Sabotage(
        "who leads a flush rings for itself alone",
        SUBMISSION + "test_a2_whoever_went_with_anothers_flush_is_rung_for_too",
        [
            (
                "taskhub/services/submission/submitter.py",
                "settled = [each for each in group if each.result is not None]",
                "settled = [each for each in group[:1] if each.result is not None]",
            )
        ],
    ),
    Sabotage(
        "what a key's lost holder kept back is not sent again",
        "tests/integration/test_api_submit.py::test_a_unique_key_whose_job_was_deleted_is_free",
        [
            (
                "taskhub/services/submission/idempotency.py",
                "pending.goes_alone = None in result",
                "pending.goes_alone = False",
            )
        ],
    ),
    Sabotage(
        "a group waits as long for a lock as anybody",
        LANES + "test_one_blocked_row_holds_up_only_itself[a unique key]",
        [
            ("taskhub/services/submission/submitter.py", "_GROUP_LOCK_S = 0.1", "_GROUP_LOCK_S = 4.0"),
            ("taskhub/services/submission/submitter.py", "_GROUP_STATEMENT_S = 0.6", "_GROUP_STATEMENT_S = 5.0"),
        ],
    ),
    Sabotage(
        "what a record of a dead worker held that was set aside is left to whoever finds it",
        "tests/fault/test_isolation.py"
        "::test_a_record_of_a_dead_worker_that_is_set_aside_is_kept_and_its_job_goes_on_uncharged",
        [
            (
                "taskhub/sidecar/predecessor_recovery.py",
                "self._records.recover_unrecorded(WorkerSlot(*_key(records, record)))",
                "pass",
            )
        ],
    ),
    Sabotage(
        "a worker gives up although a child works where others have died",
        "tests/process/test_supervisor_children.py"
        "::test_a_slot_whose_child_has_come_to_work_is_hope_enough_whatever_died_there_before",
        [("supervisor/children.py", " and not _has_worked(slot.bank) for slot", " for slot")],
    ),
    Sabotage(
        "a signal to the whole group is not seen as an end",
        LEFTOVERS
        + "test_a_thread_that_one_job_leaves_and_that_ends_the_process_is_not_charged_to_the_next[kill_group]",
        [("taskhub/child/exits.py", "group in (0, os.getpgrp())", "False")],
    ),
    Sabotage(
        "the file of a worker that was stopped is read as that of one that was lost",
        LIVENESS + "test_a_successor_charges_nobody_for_what_a_stop_has_cut_off",
        [("taskhub/sidecar/record_recovery.py", " or record.was_stopped\n", "\n")],
    ),
    Sabotage(
        "a worker does not say that it is stopping",
        "tests/fault/test_liveness.py::test_what_was_held_by_a_worker_that_was_lost_on_its_way_out_is_charged_to_nobody",
        [("taskhub/sidecar/heartbeat.py", "self._link.worker, self._link.is_draining", "self._link.worker, False")],
    ),
    Sabotage(
        "a process of the API that cannot be replaced yet ends all others",
        "tests/process/test_api_program.py::test_a_process_that_cannot_be_replaced_yet_ends_no_other",
        [("taskhub/api/respawn.py", "if self.age <= self.cfg.workers:", "if True:")],
    ),
    Sabotage(
        "any number of tiny chunks is read",
        "tests/process/test_api_raw_requests.py::test_each_odd_request_is_answered_as_what_it_is",
        [
            (
                "taskhub/api/framing.py",
                "_MANY_CHUNKS, _SMALL_CHUNK_BYTES = 8_192",
                "_MANY_CHUNKS, _SMALL_CHUNK_BYTES = 8_192_000",
            )
        ],
    ),
    Sabotage(
        "a late flush keeps the next from beginning",
        LANES + "test_a_flush_that_takes_long_holds_up_only_itself",
        [("taskhub/services/submission/group_commit.py", "LATE_S = 0.1", "LATE_S = 60.0")],
    ),
    Sabotage(
        "small requests go with large ones",
        LANES + "test_small_requests_do_not_wait_for_a_large_one",
        [
            ("taskhub/services/submission/submitter.py", "if is_large(rows):", "if False:"),
            ("taskhub/services/submission/group_commit.py", "LATE_S = 0.1", "LATE_S = 60.0"),
            ("taskhub/services/submission/submitter.py", "_GROUP_STATEMENT_S = 0.6", "_GROUP_STATEMENT_S = 5.0"),
        ],
    ),
    Sabotage(
        "the riders of an interrupted leader are forgotten",
        "tests/unit/test_group_commit.py::test_when_the_leader_is_interrupted_the_others_go_with_the_next",
        [
            (
                "taskhub/services/submission/group_commit.py",
                "            self._put_back([pending for pending in others if not pending.is_settled])\n",
                "",
            )
        ],
    ),
    Sabotage(
        "known queues stay known for ever",
        LANES + "test_known_queues_are_asked_for_again_after_a_reconnect_and_after_a_while",
        [
            (
                "taskhub/services/submission/inserter.py",
                "not self.store.is_open or now_s - self._known_since_s > _KNOWN_FOR_S or",
                "",
            )
        ],
    ),
    Sabotage(
        "a role's work_mem holds for our own setting up of a session",
        TRANSACTION + "test_what_the_database_says_for_handlers_does_not_stop_our_own_statements",
        [("taskhub/store/session.py", "SET work_mem = '4MB'; ", "")],
    ),
    Sabotage(
        "what a job replaces of the language's own names stays so",
        LEFTOVERS + "test_a_child_whose_builtins_a_job_has_replaced_serves_the_next",
        [("taskhub/child/borrowed.py", "if names != found:", "if False:")],
    ),
    Sabotage(
        "a job that a rule of the database refuses is told to be tried again",
        LANES + "test_a_row_that_a_rule_of_the_database_refuses_is_told_so[an exception-plain]",
        [("taskhub/services/submission/submitter.py", "if error.sqlstate.startswith(_IN_TROUBLE):", "if True:")],
    ),
    Sabotage(
        "a chunked body is read to the limit and no further",
        EDGES + "test_what_is_refused_is_refused_at_once_as_a_problem",
        [("taskhub/api/body.py", "length = limit + 1 if is_chunked", "length = limit if is_chunked")],
    ),
    Sabotage(
        "100 Continue as soon as the headers are there",
        EDGES + "test_what_is_refused_is_refused_at_once_as_a_problem",
        [
            (
                "taskhub/api/connections.py",
                "= request._expected_100_continue, False",
                "= request._expected_100_continue, True",
            )
        ],
    ),
    Sabotage(
        "a thread that stands still is trusted for ever",
        WAITING + "test_whatever_becomes_of_the_one_that_looks_the_waits_end",
        [("taskhub/services/queries/waiting.py", " and clock.monotonic_s() - self._turned_s < _HUNG_S", "")],
    ),
    Sabotage(
        "whoever waits keeps waiting though it hung up",
        WAITING + "test_one_that_is_not_wanted_any_more_goes",
        [("taskhub/services/queries/waiting.py", " and is_wanted():", ":")],
    ),
    Sabotage(
        "a place at work is kept while its request waits",
        "tests/process/test_api_waiters.py::test_a_place_at_work_is_others_while_its_request_waits",
        [("taskhub/api/context.py", "Submitter(connect, doorbell, gate.aside)", "Submitter(connect, doorbell)")],
    ),
    Sabotage(
        "a turn at work is for whoever comes first",
        "tests/unit/test_gates.py::test_turns_come_in_the_order_of_asking",
        [("taskhub/api/gates.py", "self._queue.popleft()", "self._queue.pop()")],
    ),
    Sabotage(
        "probes wait for their turn",
        "tests/unit/test_gates.py::test_a_full_process_refuses_in_time_and_answers_probes",
        [("taskhub/api/gates.py", 'if environ.get("PATH_INFO") in PROBES:', "if False:")],
    ),
    Sabotage(
        "those who wait keep their own pace for ever",
        "tests/process/test_api_waiters.py::test_two_hundred_who_wait_leave_all_others_room",
        [("taskhub/services/queries/waiting.py", "if now_s - self._since_s < _YOUNG_S:", "if True:")],
    ),
    Sabotage(
        "a cancellation waits for its row on one of the few connections",
        "tests/integration/test_api_jobs.py::test_cancels_of_a_job_that_somebody_holds_hold_up_nobody",
        [(SQL + "cancellations/cancel_job.sql", " NOWAIT", "")],
    ),
    Sabotage(
        "a half request may stay for ever",
        SLOW + "test_clients_that_send_half_a_request_hold_up_nobody_and_are_ended",
        [("taskhub/api/connections.py", "Stage.HEAD: 5.0, Stage.BODY: 10.0,", "Stage.HEAD: 99.0, Stage.BODY: 99.0,")],
    ),
    Sabotage(
        "a version of HTTP is answered as it came",
        RAW,
        [("taskhub/api/connections.py", "    request.version = min(request.version, (1, 1))\n", "")],
    ),
    Sabotage(
        "close is not found in a list",
        RAW,
        [
            (
                "taskhub/api/connections.py",
                '            request.force_close()\n        if name == "TRANSFER',
                '            pass\n        if name == "TRANSFER',
            )
        ],
    ),
    Sabotage(
        "a SCRIPT_NAME of the environment is believed",
        EDGES + "test_no_second_request_is_found_in_a_body_and_no_header_is_a_proxys",
        [("taskhub/api/gunicorn_conf.py", 'os.environ.pop("SCRIPT_NAME", None)', "None")],
    ),
    Sabotage(
        "those who wait do not see the end of the process",
        "tests/process/test_api_waiters.py::"
        "test_all_who_wait_are_answered_within_a_second_when_the_api_is_told_to_stop",
        [
            ("taskhub/services/queries/waiting.py", "            if self._is_draining():\n", "            if False:\n"),
            ("taskhub/services/queries/waiting.py", " and not self._is_draining() and is_wanted()", " and is_wanted()"),
        ],
    ),
    Sabotage(
        "what waited for a thread begins to wait for its turn",
        "tests/unit/test_gates.py::test_one_that_waited_too_long_for_a_thread_is_refused",
        [("taskhub/api/gates.py", "left_s = _TURN_S - _waited_s(environ)", "left_s = _TURN_S")],
    ),
    Sabotage(
        "livez needs a thread",
        "tests/process/test_api_waiters.py::test_livez_is_answered_while_no_thread_is_free",
        [("taskhub/api/gunicorn_worker.py", "if connection.request.path == _FROM_MEMORY:", "if False:")],
    ),
    Sabotage(
        "who is turned away is not told when to come again",
        "tests/unit/test_refusals.py::test_who_is_turned_away_is_told_when_to_come_again",
        [("taskhub/api/problem_document.py", "if status == HTTPStatus.SERVICE_UNAVAILABLE else", "if False else")],
    ),
    Sabotage(
        "unfinished bodies have no common bound",
        SLOW + "test_what_unfinished_bodies_take_is_bounded",
        [("taskhub/api/connections.py", "        if self._bytes > self._most_bytes:\n", "        if False:\n")],
    ),
    Sabotage(
        "acknowledge before claim: ids are forgotten as they are taken",
        CLAIMS + "test_w1_killed_between_the_take_and_the_claim",
        [
            (
                "taskhub/services/execution/redis_take.py",
                "            if not job_ids:\n                self._require_room(queue)\n",
                "            self.broker.forget(target)\n",
            )
        ],
    ),
    Sabotage(
        "after a refused result the batch that was taken waits for a bell",
        SETTLING + "test_after_a_refused_result_the_batch_that_was_taken_is_claimed_at_once",
        [
            (
                "taskhub/child/next_batch.py",
                "            claim = self._settle_and_claim(queue, want, peers)  #",
                "            #",
            )
        ],
    ),
    Sabotage(
        "acknowledge before settle: the journal is emptied as its settlement is sent",
        SETTLING + "test_the_journal_is_kept_until_its_settlement_is_committed",
        [
            (
                "taskhub/child/next_batch.py",
                "            claim = self._claimer.claim(",
                "            self._link.clear_notes()\n            claim = self._claimer.claim(",
            )
        ],
    ),
    Sabotage(
        "no journal: what a dead child had finished is unknown",
        SETTLING + "test_what_was_finished_is_settled_from_the_journal_of_the_dead",
        [
            (
                "supervisor/shared/child_link.py",
                "        self._words[m.B_JOURNAL_END] = self._journal_end = end  # last",
                "        self._journal_end = end  # last",
            )
        ],
    ),
    Sabotage(
        "the plan of a claim caches rows each of which is read once",
        "tests/integration/test_hot_updates.py::test_a_hot_sessions_plans_stay_key_look_ups_however_the_table_grew",
        [("taskhub/store/connection.py", ', "enable_memoize")', ")")],
    ),
    Sabotage(
        "what is settled after its batch is never told",
        "tests/integration/test_settled_later.py"
        "::test_what_a_lock_kept_from_being_settled_is_settled_and_told_once_after_its_batch",
        [
            (
                "taskhub/child/settling.py",
                "self._tell(settled_events(late.",
                "list(settled_events(late.",
            )
        ],
    ),
    Sabotage(
        "an unknown outcome is forgotten, not sent again",
        CLAIMS + "test_w2_claim_committed_every_answer_lost_until_the_next_turn",
        [
            (
                "taskhub/services/execution/claim.py",
                "        if self._sender.pending is not None:\n            return self._claim_ids(",
                "        if False:\n            return self._claim_ids(",
            )
        ],
    ),
    Sabotage(
        "no PDEATHSIG: children outlive their supervisor",
        DEATHS + "test_w13_children_die_with_their_supervisor",
        [("supervisor/processes.py", "        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)\n", "")],
    ),
    Sabotage(
        "an unexpected error in one step ends the supervisor's loop",
        "tests/process/test_supervisor_children.py::"
        "test_a_step_of_the_loop_that_fails_unexpectedly_is_told_once_and_tried_again[watchdog.w0]",
        [("supervisor/steps.py", "            self._failed(name, error)\n", "            raise\n")],
    ),
    Sabotage(
        "a trial that cannot be started ends the reload, and the step with it",
        "tests/process/test_supervisor_children.py::"
        "test_without_descriptors_a_reload_is_refused_and_dead_children_are_back_once_there_are_some",
        [
            (
                "supervisor/reload.py",
                "        except OSError as error:\n            _refuse",
                "        except KeyError as error:\n            _refuse",
            )
        ],
    ),
    Sabotage(
        "the loop waits until a child that a kill is pending for has stopped",
        "tests/process/test_supervisor_children.py::"
        "test_no_turn_is_long_though_sixty_four_children_are_to_be_killed_that_do_not_stand_still",
        [
            (
                "supervisor/watchdog.py",
                "        if not is_stopped(slot.pid) and now_s - pending.since_s < _STOP_WAIT_S:\n            return\n",
                "        import time\n\n        time.sleep(0.0 if is_stopped(slot.pid) else 0.5)\n",
            )
        ],
    ),
    Sabotage(
        "a real-time signal has no name",
        "tests/unit/test_steps.py::test_a_wait_status_is_told_in_words",
        [("supervisor/signals.py", "    except ValueError:\n        above", "    except KeyError:\n        above")],
    ),
    Sabotage(
        "descriptors that a handler module opens are not looked for",
        "tests/unit/test_trial.py::test_what_a_module_leaves_behind_is_told_with_its_name[sources0]",
        [("taskhub/handlers/surroundings.py", "not _HARMLESS.match(target)", "not target")],
    ),
    Sabotage(
        "an async handler is accepted, and does nothing",
        "tests/unit/test_registry.py::test_what_a_call_would_not_run_is_refused_in_one_sentence[async]",
        [("taskhub/handlers/registry.py", "    if _is_deferred(declared.function):", "    if False:")],
    ),
    Sabotage(
        "blind kill: no stop, no second look at what runs",
        DEATHS + "test_w29_the_kill_arrives_after_the_child_has_moved_on",
        [
            (
                "supervisor/watchdog.py",
                "        if pending.still_applies():\n",
                "        if True:\n",
            )
        ],
    ),
    Sabotage(
        "no crash limit",
        DEATHS + "test_w18_a_poison_job_is_a_dead_letter_after_three_crashes",
        [
            (
                SQL + "slots/rescue_jobs.sql",
                "            WHEN h.charged AND j.crashes + 1 >= 3 THEN 'failed'\n",
                "            WHEN h.charged AND j.crashes + 1 >= 30 THEN 'failed'\n",
            )
        ],
    ),
    Sabotage(
        "expiry right after an outage of PostgreSQL",
        LIVENESS + "test_w17_an_outage_of_postgresql_declares_nobody_dead",
        [
            (
                "taskhub/maintenance/observer.py",
                "        if healthy_s < self._timers.rescue_healthy_s:\n",
                "        if False:\n",
            )
        ],
    ),
    Sabotage(
        "no proof of life: children start whatever they hold",
        LIVENESS + "test_w11_a_zombie_does_not_start_what_was_taken_from_it",
        [
            (
                "supervisor/shared/child_link.py",
                "        return time.clock_gettime_ns(_BOOTTIME) < self._header[m.H_VALID_UNTIL]\n",
                "        return True\n",
            )
        ],
    ),
    Sabotage(
        "the heart beats for a supervisor that stands still",
        LIVENESS + "test_w14_a_stopped_supervisors_children_start_nothing_new",
        [
            (
                "taskhub/sidecar/heartbeat.py",
                "        if self._link.parent_silent_for_s > _PARENT_SILENT_S or self._link.is_fenced:\n",
                "        if self._link.is_fenced:\n",
            )
        ],
    ),
    Sabotage(
        "the mark passes rows whose transaction is open",
        REDIS + "test_p8_the_mark_never_passes_a_row_whose_transaction_is_open",
        [
            (SQL + "walk/note_walk.sql", "coalesce(:horizon, w.mark),\n", "coalesce(:horizon, :mark),\n"),
            (
                SQL + "walk/walk_jobs.sql",
                "CASE WHEN pg_snapshot_xmin(pg_current_snapshot()) >= w.horizon_xid THEN w.horizon_id END AS horizon",
                "b.upto AS horizon",
            ),
            ("taskhub/maintenance/reconciler.py", "since = now_s, turn.late_from", "since = now_s, turn.seen"),
        ],
    ),
    Sabotage(
        "retry kept only in Redis",
        REDIS + "test_r14_the_retry_that_redis_knew_is_gone",
        [
            (
                SQL + "settlements/settle_failures.sql",
                "        run_at = CASE WHEN d.status = 'queued' THEN m.now + d.retry_in * interval '1 s' END,\n",
                "        run_at = NULL,\n",
            ),
            (
                "taskhub/child/settling.py",
                '        failpoints.hit("worker.after_settle")\n',
                PUSHED_RETRIES + '        failpoints.hit("worker.after_settle")\n',
            ),
        ],
    ),
    Sabotage(
        "repair by age alone: an honest backlog is pushed again",
        REDIS + "test_r11_an_honest_backlog_is_not_pushed_again",
        [
            (
                "taskhub/maintenance/lost_pushes.py",
                "return tail is None or place[0]",
                "return True or tail is None or place[0]",
            )
        ],
    ),
    Sabotage(
        "a flush of Redis goes unnoticed",
        REDIS + "test_r1_everything_is_flushed",
        [
            (
                "taskhub/maintenance/lost_pushes.py",
                "return known is None or not epoch <= known <= epoch + _STEPS",
                "return False",
            )
        ],
    ),
    Sabotage(
        "no end to a write: the server waits for ever for a client that takes nothing in",
        SESSION + "test_a_child_frozen_while_it_receives_a_large_claim_loses_its_slot",
        [("taskhub/store/session.py", '"tcp_user_timeout": str(UNREAD_MS), **_SAFE', "**_SAFE")],
    ),
    Sabotage(
        "text in the encoding that the environment asks for",
        SESSION + "test_text_is_utf8_whoever_says_otherwise[latin_environment]",
        [
            ("taskhub/store/session.py", '        client_encoding="UTF8",\n', ""),
            ("taskhub/store/session.py", 'if raw.get_parameter_status("client_encoding") != "UTF8":', "if False:"),
        ],
    ),
    Sabotage(
        "commits as careless as the role likes them",
        SESSION + "test_what_safety_needs_wins_over_the_user[synchronous_commit-off-held0]",
        [("taskhub/store/session.py", "', '.join([*calls, _DURABLE, *more])", "', '.join([*calls, *more])")],
    ),
    Sabotage(
        "the log waits for its reader",
        LINES + "test_a_full_pipe_is_waited_for_once_and_then_lines_are_dropped",
        [
            (
                "taskhub/logs/lines.py",
                "        self._is_stalled = True\n",
                "        self._patient_at_s = 0.0\n        return self._has_room_soon()\n",
            )
        ],
    ),
    Sabotage(
        "a line that was cut off by a full disk is gone on with",
        LINES + "test_a_file_that_was_full_goes_on_with_a_line_of_its_own",
        [("taskhub/logs/lines.py", 'self._new_line = b"" if kind == stat.S_IFIFO else b"\\n"', 'self._new_line = b""')],
    ),
    Sabotage(
        "a raw separator in a URL: half of a password is taken for a host",
        "tests/unit/test_addresses.py",
        [("taskhub/addresses.py", 'if "@" in path + query or', "if")],
    ),
    Sabotage(
        "a driver's text is shown as it is",
        "tests/unit/test_addresses.py::test_a_text_of_a_driver_shows_no_password_in_any_form",
        [("taskhub/masking.py", 'text = text.replace(secret, "***")', "text = text.replace(secret, secret)")],
    ),
    Sabotage(
        "a file of settings is opened without a look at what it is",
        "tests/sweep/test_settings.py::test_a_file_that_cannot_be_read_is_told_at_once[TASKHUB_ENV_FILE]",
        [("taskhub/settings/sources.py", "if not stat.S_ISREG(os.fstat(descriptor).st_mode):", "if False:")],
    ),
    Sabotage(
        "a logging.disable of a handler's silences our lines",
        "tests/unit/test_foreign_logging.py::test_nothing_silences_our_lines[disabled]",
        [
            (
                "taskhub/logs/loggers.py",
                "            return level >= _process_log.level\n",
                "            return logging.getLogger(self.name).isEnabledFor(level)\n",
            )
        ],
    ),
    Sabotage(
        "a statement of upkeep compares with a volatile function: it reads the whole table",
        BOUNDED + "[expiring_jobs]",
        [
            (
                SQL + "schedule/expiring_jobs.sql",
                "expires_at <= (SELECT clock_timestamp())",
                "expires_at <= clock_timestamp() - interval '99 d'",
            )
        ],
    ),
    Sabotage(
        "what a value's __str__ raises ends the handler that logs it",
        "tests/unit/test_foreign_logging.py::test_any_value_is_shown_or_replaced[leaving]",
        [("taskhub/logs/escaping.py", "    except BaseException as error:\n", "    except ValueError as error:\n")],
    ),
    Sabotage(
        "a silent first host has all of the time for connecting",
        "tests/integration/test_places.py::test_a_silent_first_host_does_not_keep_the_second_from_being_tried",
        [("taskhub/store/places.py", "return now + max(0.0, deadline - now) / parts", "return deadline")],
    ),
    Sabotage(
        "names are looked up by whoever needs them, however long it takes",
        "tests/integration/test_places.py::test_a_name_that_is_looked_up_for_ever_costs_no_more_either",
        [("taskhub/resolver.py", "if not look_up.is_done.wait(within_s):", "if not look_up.is_done.wait():")],
    ),
    Sabotage(
        "SQL is read when it is first needed",
        "tests/process/test_worker_upgrade.py::test_once_started_nothing_of_the_installation_is_opened_or_imported",
        [("taskhub/installation.py", "    statements.load_all()\n", "")],
    ),
    Sabotage(
        "modules are imported when they are first needed",
        "tests/process/test_worker_upgrade.py::test_once_started_nothing_of_the_installation_is_opened_or_imported",
        [("taskhub/installation.py", "    for name in late:\n", "    for name in ():\n")],
    ),
    Sabotage(
        "a journal that was full once stays full: each further result is settled alone",
        "tests/integration/test_work_per_job.py::test_a_job_of_a_drain",
        [("taskhub/child/batch_run.py", "                self._make_room()\n", "")],
    ),
    Sabotage(
        "each statement is a round trip more",
        "tests/integration/test_work_per_job.py::test_one_job_by_a_producer",
        [
            (
                "taskhub/store/connection.py",
                "        self._sent = True\n        return self._execute(chosen.execute",
                '        self._execute("SELECT", (), deadline)\n        return self._execute(chosen.execute',
            )
        ],
    ),
    Sabotage(
        "a program that only submits imports the driver of Redis at its start",
        "tests/architecture/test_loaded_modules.py::test_a_program_loads_what_it_uses_and_no_more",
        [("taskhub/services/submission/doorbell.py", "if TYPE_CHECKING:\n", "if True:\n")],
    ),
    Sabotage(
        "no guard around a role: what it raises ends its thread",
        "tests/process/test_worker_roles.py::test_every_role_runs_again_after_any_exception_and_is_counted",
        [
            (
                "taskhub/roles/role_thread.py",
                """        except BaseException as error:  # noqa: BLE001 (an exit as well: it ends no other role)
            self._close()
            self._failed(error)
""",
                """        except UnavailableError as error:
            self._close()
            self._failed(error)
""",
            )
        ],
    ),
    Sabotage(
        "an old turn writes beside the new one",
        WALK + "test_who_lost_the_turn_writes_nothing",
        [(SQL + "walk/note_walk.sql", "WHERE turn = :turn FOR UPDATE", "WHERE :turn > 0 FOR UPDATE")],
    ),
    Sabotage(
        "rows that others insert lie below the mark for ever",
        WALK + "test_a_fresh_row_that_anybody_inserts_is_found_by_run_at",
        [("db/migrations/0002_walk_all_queues.sql", "NEW.run_at := clock_timestamp();", "NULL;")],
    ),
    Sabotage(
        "the pruner frees the key, whoever holds it by now",
        UPKEEP + "test_a_key_that_changes_hands_while_the_pruner_waits_stays",
        [
            (
                SQL + "keys/prune_unique_keys.sql",
                "WHERE u.unique_key = o.unique_key AND u.job_id = o.job_id",
                "WHERE u.unique_key = o.unique_key",
            )
        ],
    ),
    Sabotage(
        "no isolation: a poisonous item ends the pass of all",
        "tests/fault/test_isolation.py::test_a_dead_child_whose_rescue_fails_holds_up_no_other",
        [
            (
                "taskhub/roles/isolation.py",
                "                self._failed(name, error)",
                "                self._failed(name, error)\n                raise",
            )
        ],
    ),
    Sabotage(
        "no order among items: who waits for a lock holds up the others again and again",
        "tests/fault/test_isolation.py::test_an_item_whose_row_is_locked_holds_the_others_up_once",
        [
            (
                "taskhub/roles/isolation.py",
                "                self._item(name).tries += 1\n                raise",
                "                raise",
            )
        ],
    ),
    Sabotage(
        "no walk over dead slots: the same 32 are looked at again and again",
        "tests/fault/test_isolation.py::test_any_number_of_dead_slots_is_rescued_while_redis_is_away",
        [
            (
                "taskhub/maintenance/recoverer.py",
                "self._after = page[-1].slot if len(page) == _PAGE else _FIRST",
                "self._after = _FIRST",
            )
        ],
    ),
    Sabotage(
        "no room beyond the bound: half-sent requests keep the others out",
        "tests/unit/test_worker_port.py::test_half_sent_requests_do_not_stop_the_others",
        [
            (
                "taskhub/sidecar/http_requests.py",
                "            next(iter(self._heads)).cancel()",
                "            task.cancel()",
            )
        ],
    ),
    Sabotage(
        "no watch over roles: one that hangs is left alone",
        "tests/process/test_worker_roles.py::test_a_role_that_hangs_ends_the_sidecar_before_its_worker_counts_as_dead",
        [("taskhub/roles/state.py", "        return now_s > self._due_s", "        return False")],
    ),
    Sabotage(
        "expires_at fails what has started once",
        UPKEEP + "test_a_first_start_after_the_expiry_is_refused_and_a_later_one_is_not",
        [(SQL + "claims/settle_and_claim.sql", "j.expires_at IS NULL OR j.attempts > 0 OR", "j.expires_at IS NULL OR")],
    ),
    Sabotage(
        "a job of one attempt is run again after a drain",
        SETTLE + "test_a_job_of_one_attempt_never_starts_twice",
        [
            (
                SQL + "slots/rescue_jobs.sql",
                "AND (j.max_attempts = 1\n                OR",
                "AND (false\n                OR",
            )
        ],
    ),
    Sabotage(
        "what a handler prints without an end stays with the next job",
        "tests/unit/test_log_output.py::test_what_is_printed_is_told_in_whole_lines[no end]",
        [("taskhub/logs/output.py", "        while self.pending:\n", "        while False:\n")],
    ),
    Sabotage(
        "children write past Python's streams where the worker does",
        "tests/process/test_worker_output.py::test_what_is_written_past_pythons_streams_is_told_with_its_slot_and_job",
        [("supervisor/children.py", "        self._outputs.redirect(link.slot)\n", "")],
    ),
    Sabotage(
        "a reload closes the pipes under those who write",
        "tests/process/test_worker_output.py::test_pipes_outlive_a_reload_and_a_slot_that_is_added_has_one",
        [("supervisor/reload.py", "[descriptor, report, *outputs.descriptors]", "[descriptor, report]")],
    ),
    Sabotage(
        "what one job has begun to write is joined with the next job's",
        "tests/unit/test_raw_lines.py::test_what_one_job_has_begun_is_not_joined_with_what_the_next_writes",
        [("taskhub/logs/raw_lines.py", "        if fields != self._fields:", "        if False:")],
    ),
    Sabotage(
        "a statement is given its parameters in another order",
        "tests/architecture/test_store.py::test_a_statement_is_given_its_parameters_in_order[expire_workers]",
        [("taskhub/store/workers.py", "seen_s, dead_s, except_for)]", "dead_s, seen_s, except_for)]")],
    ),
    Sabotage(
        "rows are read by other names than their columns have",
        "tests/integration/test_bounded_reads.py"
        "::test_a_statement_returns_the_columns_that_its_header_names[slots_of_worker]",
        [(SQL + "slots/slots_of_worker.sql", "slot AS number", "slot")],
    ),
    Sabotage(
        "upkeep writes a status by itself",
        "tests/architecture/test_store.py::test_only_services_write_a_status",
        [
            (
                "taskhub/maintenance/expirer.py",
                "import fail_expired\n",
                "import fail_expired\nfrom taskhub.store.schedule import expire_jobs\n",
            )
        ],
    ),
    Sabotage(
        "the journal forgets the traceback of what failed",
        FAILURES,
        [
            (
                "taskhub/domain/journal.py",
                "[*outcome[1:6], outcome.raised_in, outcome.traceback]",
                "[*outcome[1:6], None, None]",
            )
        ],
    ),
    Sabotage(
        "records of other loggers do not say whose they are",
        FAILURES,
        [("taskhub/child/program.py", "    name_jobs(runner.running_fields)\n", "")],
    ),
    Sabotage(
        "where a handler failed is said of the library's code",
        GATE + "test_a_failure_says_where_the_handlers_own_code_was",
        [("taskhub/domain/raised_in.py", "not file.startswith(_STANDARD)", "True")],
    ),
]
