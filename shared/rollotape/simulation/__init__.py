"""A seeded market with whole Wyckoff schematics, labels at the bars an analyst would mark, and their scoring.

What is drawn follows what the words of Wyckoff analysts mean (docs/simulation.md), in proportions that vary
from schematic to schematic. Nothing here knows how a detector decides: `rollotape.domain.wyckoff` may not be
imported, or a score would only say that two copies of a rule agree.
"""
