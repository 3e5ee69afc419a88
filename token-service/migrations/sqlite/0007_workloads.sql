-- One attested identity is one agent: who it is must not depend on which row is found first.
CREATE UNIQUE INDEX agents_by_workload ON agents (workload) WHERE workload IS NOT NULL;
