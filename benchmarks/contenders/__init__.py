"""Holdfast beside other job queues: the same jobs on the same engines, each in an environment of its own.

A contender is an app in `apps`, written as its documentation has it, and an entry in `table`. What runs in
its environment (`apps`, `work`, `marks`, `clerk`) imports the standard library, that queue and nothing else.
"""
