"""Two sites on one machine: layout, synthetic agents and customers, drills and their checker."""
