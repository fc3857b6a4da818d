"""Where the tasks of a bulk run are executed: in processes on this machine, or on a cluster."""
