"""One package for each server role, a thin shell around domain, link and store."""
