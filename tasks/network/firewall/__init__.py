"""The packet filter of a machine: who is in charge, what it holds back, one rule let in."""
