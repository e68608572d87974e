"""The read model of active patterns in Redis: its keys, and the scripts that change and read it whole.

    rm:{patterns}:items            hash: id -> an item, ready JSON
    rm:{patterns}:by:confidence    sorted sets of ids: by confidence, detected_at, expires_at (microseconds);
    rm:{patterns}:by:symbol        by symbol and type their members are "AAPL:<id>", in alphabetical order
    rm:{patterns}:manifest         hash: epoch, version, count, as_of (microseconds), and turn: the last one a
                                   builder took, whether or not it changed anything
    rm:{patterns}:changes          stream, capped: id <version>-0, the version before, ids changed and removed
    rm:{patterns}:rebuild          somebody found the model broken or missing
    rm:{patterns}:alive            a builder is at work; expires by itself
    rm:{patterns}:stats            hash: events, last_event_ms, hits, misses

What stands in braces says where a key of a cluster is: all of these are in one place, so that one script can
change them together.

A model is sound when the manifest is there and every part has as many entries as it says. Each script does
its work wholly or not at all, and answers with what it found.
"""

PREFIX = "rm:{patterns}:"
INDEXES = ("confidence", "detected_at", "expires_at", "symbol", "type")
DATA = ("items", *(f"by:{name}" for name in INDEXES))
ALL = [PREFIX + name for name in (*DATA, "manifest", "changes", "rebuild", "alive")]
"""KEYS of every script."""
ITEMS, MANIFEST, CHANGES, REBUILD, ALIVE = (
    PREFIX + name for name in ("items", "manifest", "changes", "rebuild", "alive")
)
STATS = PREFIX + "stats"
BEFORE = ["rm:patterns:" + key.removeprefix(PREFIX) for key in (*ALL, STATS)]
"""The same as earlier versions called them: a model of theirs that nobody tends any more is let expire."""
BEFORE_S = 3_600
BY_EXPIRY = PREFIX + "by:expires_at"
CHANGES_KEPT = 500
DELTA_MOST = 10_000
"""A reader that is further behind reads everything."""
SEPARATOR = ":"
"""Stands between a symbol or type and the id; none of them contains it."""


def staged(version: int) -> list[str]:
    """Where the data of a model that is being built are until it takes the place of the old one."""
    return [f"{PREFIX}new:{version}:{name}" for name in DATA]


_STANDING = """
local function card(key)
  return redis.call(key == KEYS[1] and 'HLEN' or 'ZCARD', key)
end
local function standing()
  local m = redis.call('HMGET', KEYS[7], 'epoch', 'version', 'count', 'as_of')
  if not m[1] then return 'missing' end
  local version, count = tonumber(m[2]), tonumber(m[3])
  if not version or not count or not tonumber(m[4]) then return 'broken' end
  for i = 1, 6 do
    if card(KEYS[i]) ~= count then return 'broken' end
  end
  return 'sound', m[1], version, count, m[4]
end
"""

INSPECT = (
    _STANDING
    + """
local state, epoch, version, count = standing()
return {state, redis.call('GET', KEYS[9]), epoch or '', version or 0, count or 0}
"""
)

APPLY = (
    _STANDING
    + """
-- ARGV: epoch, version, as_of, changes kept, number of items; (id, json, confidence, detected_at, expires_at,
-- symbol, type) of each; ids that are gone. What is there already is left alone: repeating changes nothing.
local state, epoch, version, count = standing()
if state ~= 'sound' then return {state, 0} end
if epoch ~= ARGV[1] then return {'missing', 0} end
local turn = tonumber(redis.call('HGET', KEYS[7], 'turn') or version)
if turn >= tonumber(ARGV[2]) then return {'superseded', turn} end
local function forget(id, old)
  local known = cjson.decode(old)
  redis.call('ZREM', KEYS[5], known.symbol .. ':' .. id)
  redis.call('ZREM', KEYS[6], known.pattern_type .. ':' .. id)
end
local changed, removed, at = {}, {}, 6
for _ = 1, tonumber(ARGV[5]) do
  local id, json = ARGV[at], ARGV[at + 1]
  local old = redis.call('HGET', KEYS[1], id)
  if old ~= json then
    if old then forget(id, old) else count = count + 1 end
    redis.call('HSET', KEYS[1], id, json)
    redis.call('ZADD', KEYS[2], ARGV[at + 2], id)
    redis.call('ZADD', KEYS[3], ARGV[at + 3], id)
    redis.call('ZADD', KEYS[4], ARGV[at + 4], id)
    redis.call('ZADD', KEYS[5], 0, ARGV[at + 5] .. ':' .. id)
    redis.call('ZADD', KEYS[6], 0, ARGV[at + 6] .. ':' .. id)
    changed[#changed + 1] = id
  end
  at = at + 7
end
for i = at, #ARGV do
  local id = ARGV[i]
  local old = redis.call('HGET', KEYS[1], id)
  if old then
    forget(id, old)
    redis.call('HDEL', KEYS[1], id)
    for k = 2, 4 do redis.call('ZREM', KEYS[k], id) end
    count = count - 1
    removed[#removed + 1] = id
  end
end
redis.call('HSET', KEYS[7], 'turn', ARGV[2])
if #changed + #removed > 0 then
  redis.call('XADD', KEYS[8], 'MAXLEN', ARGV[4], ARGV[2] .. '-0', 'before', string.format('%.0f', version),
             'ids', table.concat(changed, ' ') .. ' ' .. table.concat(removed, ' '))
  redis.call('HSET', KEYS[7], 'version', ARGV[2], 'count', count, 'as_of', ARGV[3])
end
return {'applied', #changed + #removed}
"""
)

SWAP = """
-- ARGV: epoch, version, as_of, count; KEYS 11 to 16 are the staged data, in the order of KEYS 1 to 6.
local m = redis.call('HMGET', KEYS[7], 'epoch', 'turn')
if m[1] == ARGV[1] and m[2] and tonumber(m[2]) >= tonumber(ARGV[2]) then
  return {'superseded', tonumber(m[2])}
end
for i = 1, 6 do
  if redis.call(i == 1 and 'HLEN' or 'ZCARD', KEYS[10 + i]) ~= tonumber(ARGV[4]) then return {'broken', 0} end
end
for i = 1, 6 do
  redis.call('UNLINK', KEYS[i])
  if tonumber(ARGV[4]) > 0 then
    redis.call('RENAME', KEYS[10 + i], KEYS[i])
    redis.call('PERSIST', KEYS[i])
  end
end
redis.call('DEL', KEYS[7], KEYS[8], KEYS[9])
redis.call('HSET', KEYS[7], 'epoch', ARGV[1], 'version', ARGV[2], 'turn', ARGV[2], 'count', ARGV[4],
           'as_of', ARGV[3])
return {'applied', tonumber(ARGV[4])}
"""

FOLLOW = (
    _STANDING
    + """
-- ARGV: epoch and version that a reader has, most ids of a delta.
local state, epoch, version, count, as_of = standing()
if state ~= 'sound' then return {state} end
local alive = redis.call('EXISTS', KEYS[10])
local head = {'same', epoch, version, count, as_of, alive}
if epoch == ARGV[1] and version == tonumber(ARGV[2]) then return head end
head[1] = 'reload'
if epoch ~= ARGV[1] then return head end
local reached, ids, seen = ARGV[2], {}, {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[8], '(' .. ARGV[2] .. '-0', '+')) do
  local fields = entry[2]
  if fields[2] ~= reached then return head end
  reached = string.match(entry[1], '^%d+')
  for id in string.gmatch(fields[4], '%S+') do
    if not seen[id] then
      seen[id] = true
      ids[#ids + 1] = id
    end
  end
  if #ids > tonumber(ARGV[3]) then return head end
end
if tonumber(reached) ~= version then return head end
head[1] = 'delta'
local items = {}
for i, id in ipairs(ids) do
  items[i] = redis.call('HGET', KEYS[1], id)
end
head[7], head[8] = ids, items
return head
"""
)
