// Reads and writes as clients mix them: each submits one job and looks at it three times; some submit in bulk.
import { read, sampling, statistics, submit, submitMany, thresholds } from './jobs.js';

export { handleSummary, sample } from './jobs.js';

const duration = __ENV.DURATION || '60s';

export const options = {
  summaryTrendStats: statistics,
  thresholds: { ...thresholds, read_time: ['p(95)<250', 'p(99)<1000'] },
  scenarios: {
    clients: {
      executor: 'constant-arrival-rate',
      rate: Number(__ENV.RATE || 60),
      timeUnit: '1s',
      duration,
      preAllocatedVUs: 60,
      maxVUs: 300,
    },
    bulk: {
      executor: 'constant-arrival-rate',
      exec: 'bulk',
      rate: 1,
      timeUnit: '1s',
      duration,
      preAllocatedVUs: 5,
    },
    sample: sampling(duration),
  },
};

export default function () {
  const id = submit();
  for (let looks = 0; id !== null && looks < 3; looks += 1) read(id);
}

export function bulk() {
  submitMany(100);
}
