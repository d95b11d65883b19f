"""What runs inside a model's environment: the three contracts, the loop that serves them, and
the protocol it speaks.

That environment has no medzoo installed, any numpy from 1.20 and any Python from 3.8. So nothing
here, and nothing that it imports (`medzoo.errors`, `medzoo.seeds`), needs more than the standard
library of Python 3.8 and numpy.
"""
