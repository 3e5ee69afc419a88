-- What the caller got in the end: the digest of the response message (RFC 9530), beside that of the request.
ALTER TABLE audit ADD COLUMN result_digest TEXT;
