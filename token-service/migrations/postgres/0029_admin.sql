-- What administrators did is looked for apart from what calls did, which is most of the trail.
CREATE INDEX audit_by_admin ON audit (id) WHERE kind = 'admin';
