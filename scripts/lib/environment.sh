# Shared by scripts/*: make `.venv` in $root and install this checkout into it, with extras.
# Installs again only when the packaging or the wanted extras changed. Sets $venv.

venv=$root/.venv

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue
        command -v "$candidate"
        return
    done
    fail "taskhub needs python3, 3.10 or later, and finds none (PYTHON can name one)"
}

# A venv is of use if it was finished (pip comes last) and made for this place (scripts name their python).
has_venv() {
    "$venv/bin/python" -c 'import pip' 2>/dev/null && head -n 3 "$venv/bin/pip" | grep -qF "$venv/bin/python"
}

make_venv() {
    python=$(find_python) || exit 1
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)"
    printf '%s\n' "making $venv" >&2
    rm -rf "$venv"
    "$python" -m venv "$venv" || fail "cannot make $venv"
}

# What an installation of this checkout, in this place, with these extras, is marked with.
describe_environment() {
    cat "$root/setup.cfg" "$root/setup.py" "$root/pyproject.toml" | cksum
    printf '%s\n' "$venv"
}

prepare_environment() {
    extras=$1
    mark=$venv/.installed-$(printf '%s' "$extras" | tr ',' '-')
    wanted=$(describe_environment)
    [ ! -x "$venv/bin/python" ] || [ "$(cat "$mark" 2>/dev/null || :)" != "$wanted" ] || return 0
    has_venv || make_venv
    printf '%s\n' "installing taskhub[$extras] into $venv; this can take a minute" >&2
    log=$venv/install.log
    "$venv/bin/python" -m pip install --disable-pip-version-check -e "$root[$extras]" >"$log" 2>&1 || {
        cat "$log" >&2
        fail "the installation failed: see above (kept in $log)"
    }
    printf '%s\n' "$wanted" >"$mark"
}
