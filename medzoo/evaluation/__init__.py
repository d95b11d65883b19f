"""Judge samples against real data: figures with floors and intervals, gates, reports.

``medzoo.evaluate`` and ``medzoo.compare`` are the way in. A metric is one function with the
decorator ``metrics.metric``.
"""
