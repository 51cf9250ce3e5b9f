"""Tools to test code that uses Backline, and Backline itself: time, faults, simulation."""
