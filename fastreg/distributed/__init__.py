"""Tasks on other processes and machines, through joblib: data sent once, lost tasks run again, cores shared.

It knows nothing of trainers. What is run there is in `fastreg.training.many`.
"""

from fastreg.distributed.jobs import Jobs, Watch, checked_n_jobs

__all__ = ["Jobs", "Watch", "checked_n_jobs"]
