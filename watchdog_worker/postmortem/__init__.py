"""After a worker's death: the arbiter's side. What the recorder holds becomes a report.

In the arbiter: `hooks` hear of an end, `registry` knows the recorders of the workers that live,
`left` those of the dead of another time, `ending` and `reason` judge how one ended. In a process
of its own, which `reporter` forks: `accounts`, `autopsy`, `stacks` and `rawtext` read what it left
behind and put it into a report.
"""
