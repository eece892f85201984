"""What starts, stops and moves things: host agents, database nodes, the site switch-over plan."""
