"""The engine: plans, approvals, leases, the ledger, undo and reports. Knows no system at all."""
