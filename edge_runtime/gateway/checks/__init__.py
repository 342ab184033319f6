"""The parts of `overhaul-edge check`: each tries something without starting, publishing or writing anything."""
