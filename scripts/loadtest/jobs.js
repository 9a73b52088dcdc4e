// What every load does: submit, read, sample how long a job waits in its queue, and sum up.
import http from 'k6/http';
import { check } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';

export const url = __ENV.TASKHUB_URL || 'http://localhost:8080';

const accepted = new Counter('jobs_accepted');
const errors = new Rate('errors');
const submitTime = new Trend('submit_time', true);
const readTime = new Trend('read_time', true);
const queueWait = new Trend('queue_wait', true);

const JSON_BODY = { 'Content-Type': 'application/json' };

// Bounds that every load keeps, unless its own script says otherwise.
export const thresholds = {
  errors: ['rate==0'],
  submit_time: ['p(95)<250', 'p(99)<1000'],
  queue_wait: ['p(95)<1000'],
  dropped_iterations: ['rate<1'],
};

export const statistics = ['avg', 'med', 'p(95)', 'p(99)', 'max', 'count'];

// Beside the load proper: twice a second, follow one job to its end.
export function sampling(duration) {
  return {
    executor: 'constant-arrival-rate',
    exec: 'sample',
    rate: 2,
    timeUnit: '1s',
    duration,
    preAllocatedVUs: 20,
  };
}

// One job; returns its id, or null if it was not accepted.
export function submit(payload = { type: 'demo', value: 123 }) {
  const answer = http.post(`${url}/jobs`, JSON.stringify({ payload }), { headers: JSON_BODY, tags: { name: 'submit' } });
  submitTime.add(answer.timings.duration);
  const ok = check(answer, { 'a job is accepted': (a) => a.status === 202 });
  errors.add(!ok);
  if (!ok) return null;
  accepted.add(1);
  return answer.json('id');
}

export function submitMany(number) {
  const jobs = Array.from({ length: number }, (_, value) => ({ payload: { type: 'demo', value } }));
  const answer = http.post(`${url}/jobs/bulk`, JSON.stringify({ jobs }), { headers: JSON_BODY, tags: { name: 'bulk' } });
  const ok = check(answer, { 'a bulk is accepted': (a) => a.status === 202 && a.json('ids').length === number });
  errors.add(!ok);
  if (ok) accepted.add(number);
}

export function read(id) {
  const answer = http.get(`${url}/jobs/${id}`, { tags: { name: 'read' } });
  readTime.add(answer.timings.duration);
  errors.add(!check(answer, { 'a job is shown': (a) => a.status === 200 && a.json('id') === id }));
}

export function sample() {
  const id = submit();
  if (id === null) return;
  const answer = http.get(`${url}/jobs/${id}?wait=20`, { tags: { name: 'wait' }, timeout: '40s' });
  const ok = check(answer, { 'a job is completed': (a) => a.status === 200 && a.json('status') === 'completed' });
  errors.add(!ok);
  if (ok) queueWait.add(milliseconds(answer.json('started_at')) - milliseconds(answer.json('created_at')));
}

// Times have up to six digits after the point; Date knows three.
function milliseconds(time) {
  const [seconds, fraction = '0'] = time.replace('Z', '').split('.');
  return Date.parse(`${seconds}Z`) + Number(`0.${fraction}`) * 1000;
}

export function handleSummary(data) {
  const value = (metric, field) => (data.metrics[metric] ? data.metrics[metric].values[field] : undefined);
  const number = (found, unit, digits = 1) => (found === undefined ? '-' : `${found.toFixed(digits)}${unit}`);
  const trend = (metric) =>
    ['med', 'p(95)', 'p(99)', 'max'].map((field) => `${field} ${number(value(metric, field), ' ms')}`).join('  ');
  const broken = Object.entries(data.metrics).flatMap(([name, metric]) =>
    Object.entries(metric.thresholds || {}).filter(([, kept]) => !kept.ok).map(([bound]) => `${name} ${bound}`),
  );
  const rows = [
    ['accepted', `${value('jobs_accepted', 'count') || 0} jobs, ${number(value('jobs_accepted', 'rate'), ' jobs/s')}`],
    ['errors', number((value('errors', 'rate') || 0) * 100, ' %', 3)],
    ['not even tried', `${value('dropped_iterations', 'count') || 0} (the rate was not reached)`],
    ['submit', trend('submit_time')],
    ['read', trend('read_time')],
    ['wait in the queue', trend('queue_wait')],
    ['thresholds', broken.length ? `BROKEN: ${broken.join(', ')}` : 'all kept'],
  ];
  return { stdout: rows.map(([name, told]) => `${name.padEnd(18)} ${told}\n`).join('') };
}
