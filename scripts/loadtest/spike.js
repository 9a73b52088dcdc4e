// A quiet minute with ten seconds of RATE submissions a second in it: is it taken, and is it over soon after?
import { sampling, statistics, submit, thresholds } from './jobs.js';

export { handleSummary, sample } from './jobs.js';

const peak = Number(__ENV.RATE || 600);
const calm = peak / 20;

export const options = {
  summaryTrendStats: statistics,
  thresholds: { ...thresholds, submit_time: ['p(99)<3000'], queue_wait: ['p(95)<5000'], dropped_iterations: [] },
  scenarios: {
    submit: {
      executor: 'ramping-arrival-rate',
      startRate: calm,
      timeUnit: '1s',
      preAllocatedVUs: 200,
      maxVUs: 600,
      stages: [
        { target: calm, duration: '15s' },
        { target: peak, duration: '1s' },
        { target: peak, duration: '10s' },
        { target: calm, duration: '1s' },
        { target: calm, duration: '30s' },
      ],
    },
    sample: sampling('57s'),
  },
};

export default function () {
  submit();
}
