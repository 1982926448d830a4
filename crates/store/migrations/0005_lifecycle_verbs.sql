-- Why an operator has what the node is doing stopped; only while the present generation is for that.
ALTER TABLE node ADD COLUMN abort TEXT;

-- When the server was last written anew, if it was.
ALTER TABLE server ADD COLUMN rebuilt_at BIGINT;
