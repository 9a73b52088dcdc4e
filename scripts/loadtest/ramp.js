// From little to RATE submissions a second: where does it bend?
import { sampling, statistics, submit, thresholds } from './jobs.js';

export { handleSummary, sample } from './jobs.js';

const peak = Number(__ENV.RATE || 400);

export const options = {
  summaryTrendStats: statistics,
  thresholds,
  scenarios: {
    submit: {
      executor: 'ramping-arrival-rate',
      startRate: peak / 10,
      timeUnit: '1s',
      preAllocatedVUs: 100,
      maxVUs: 400,
      stages: [
        { target: peak, duration: '90s' },
        { target: peak, duration: '30s' },
      ],
    },
    sample: sampling('120s'),
  },
};

export default function () {
  submit();
}
