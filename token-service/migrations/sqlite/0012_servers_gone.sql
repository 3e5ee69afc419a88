-- What users agreed to is the server that they were shown: whoever has its resource identifier after it starts anew.
CREATE TRIGGER servers_gone AFTER DELETE ON servers
BEGIN
    DELETE FROM authorization_codes WHERE resource = OLD.resource;
    DELETE FROM grants WHERE resource = OLD.resource;
    DELETE FROM consents WHERE resource = OLD.resource;
END;
CREATE TRIGGER servers_moved AFTER UPDATE OF resource ON servers WHEN NEW.resource <> OLD.resource
BEGIN
    DELETE FROM authorization_codes WHERE resource = OLD.resource;
    DELETE FROM grants WHERE resource = OLD.resource;
    DELETE FROM consents WHERE resource = OLD.resource;
END;
