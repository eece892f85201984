-- jsonb sorts the keys of an object; agents see dispositions and case information in the order in which an
-- administrator wrote them, so documents keep their text.
ALTER TABLE config_object ALTER COLUMN document TYPE json USING document::json;
