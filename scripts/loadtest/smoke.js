// A few seconds at a low rate: does everything work under some load at all?
import { sampling, statistics, submit, thresholds } from './jobs.js';

export { handleSummary, sample } from './jobs.js';

const duration = __ENV.DURATION || '10s';

export const options = {
  summaryTrendStats: statistics,
  thresholds,
  scenarios: {
    submit: {
      executor: 'constant-arrival-rate',
      rate: Number(__ENV.RATE || 50),
      timeUnit: '1s',
      duration,
      preAllocatedVUs: 20,
    },
    sample: sampling(duration),
  },
};

export default function () {
  submit();
}
