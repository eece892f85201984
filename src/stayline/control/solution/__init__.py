"""The Solution Control Server of a site: what an operator talks to."""
