-- `user` is a word of SQL's own: PostgreSQL reads it as who is connected.
ALTER TABLE sessions RENAME COLUMN user TO user_name;
ALTER TABLE authorization_codes RENAME COLUMN user TO user_name;
ALTER TABLE grants RENAME COLUMN user TO user_name;
ALTER TABLE consents RENAME COLUMN user TO user_name;
ALTER TABLE identities RENAME COLUMN user TO user_name;
ALTER TABLE upstream_sessions RENAME COLUMN user TO user_name;
