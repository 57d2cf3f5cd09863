"""A gunicorn config for a watched worker: what people change, with what it does.

gunicorn -c deploy/gunicorn.conf.py your.module:app
"""

worker_class = "watchdog_worker.Worker"

# The kill. The dump comes before it: a sixth of this earlier, at most 5 s.
timeout = 30

# A loop that is silent for so long is told, with the line that blocks it. Seconds.
watchdog_stall_threshold = 1.0

# Every report also as a JSON file, readable by the worker's user only; the newest 50 are kept.
# watchdog_dump_dir = "/var/tmp/watchdog"
# watchdog_dump_keep = 50

# Where the flight recorders are: 296 KiB a worker, and what a dead one has left until it is told.
# In a container, a folder that survives it has them told also when the whole of it was killed.
# watchdog_run_dir = "/run/watchdog"

# One line of JSON a report instead of a readable block.
# watchdog_log_format = "json"

# A request that takes longer, while the loop is free, is told with the line at which it waits.
# watchdog_slow_request_threshold = 10

# Values that every request is to have for itself; None: unset.
# watchdog_contextvars = {"shop.context:cart": dict, "shop.context:session": None}
