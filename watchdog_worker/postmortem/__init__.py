"""After a worker's death: the arbiter's side. What the recorder holds becomes a report.

`registry` knows the recorders of the workers that live, `ending` judges how one ended, `rawtext`
and `autopsy` read what it left behind, `reporter` tells it from a process of its own.
"""
