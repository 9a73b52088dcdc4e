"""What people see of jobs and queues."""
