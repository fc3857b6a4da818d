"""Fault injection for both servers: killed workers, shutdown under load, crowds, slow clients, clients that hang up."""
