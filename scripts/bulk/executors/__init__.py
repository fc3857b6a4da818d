"""Where the tasks of a bulk run are done: on this machine's processes, or on a cluster."""
