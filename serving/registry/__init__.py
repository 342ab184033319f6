"""The machines of a company: who owns each twin, where it stands in the plant, how it is set, and who changed that.

A twin has one owner at a time, a gateway or the centre, under a term that counts the owners. What comes from anybody
else, or under an older term, is refused. Machines stand in a tree, plant → line → machine → component, in which the
condition of a parent follows from those of its children. All changes are versioned and audited.
"""
