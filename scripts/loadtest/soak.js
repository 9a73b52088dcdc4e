// RATE submissions a second for a long DURATION: does anything grow that should not?
import { sampling, statistics, submit, thresholds } from './jobs.js';

export { handleSummary, sample } from './jobs.js';

const duration = __ENV.DURATION || '30m';

export const options = {
  summaryTrendStats: statistics,
  thresholds,
  scenarios: {
    submit: {
      executor: 'constant-arrival-rate',
      rate: Number(__ENV.RATE || 100),
      timeUnit: '1s',
      duration,
      preAllocatedVUs: 50,
      maxVUs: 200,
    },
    sample: sampling(duration),
  },
};

export default function () {
  submit();
}
