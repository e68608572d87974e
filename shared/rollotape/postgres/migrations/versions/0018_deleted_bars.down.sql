DROP TRIGGER forget_truncated ON bars;
DROP TRIGGER forget_deleted ON bars;
DROP FUNCTION forget_symbols();
