"""What the servers do under faults: workers killed, an end under load, crowds, slow clients, clients that hang up."""
