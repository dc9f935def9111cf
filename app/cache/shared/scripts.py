"""Lua scripts of the second tier. Redis runs each as one atomic step: no other command runs in between.

All keys of a call carry the same scope as their hash tag, as Redis Cluster demands of a script. A key is *poisoned* if
it holds another type, or a value that cannot be read, for example because another program wrote it. `redis.call` would
abort the script for such a key every time; `redis.pcall` returns the error as a value, so that the script goes on
without the key, or overwrites it.
"""

from typing import Final

# --- Leases (see `leases.py` for the format of their values) ---

# The next fencing token. `pcall` returns an error instead of aborting the script: a poisoned counter (no number, or
# beyond those that Lua holds exactly) starts again at the seconds since the epoch, a number that counting leases does
# not reach. The counter expires after a day without leases. A value that was written before may outlive it if pages are
# kept for longer than that; it is then overwritten all the same, because the scripts that write compare the times too.
_COUNT_LEASES: Final = """
local function next_token(counter)
  local token = redis.pcall('INCR', counter)
  if type(token) ~= 'number' or token < 1 or token > 9e15 then
    token = tonumber(redis.call('TIME')[1])
    redis.call('SET', counter, string.format('%.0f', token))
  end
  redis.call('EXPIRE', counter, 86400)
  return token
end
local function as_lease(token, owner, claim)
  return 'h' .. owner .. ' ' .. string.format('%.0f', token) .. ' ' .. claim
end
"""

# The value of a lease, and whether another owner holds it. Nobody waits for a lease without an end: one that does not
# expire within its lifetime was not written here. A poisoned lease (another type, a value that is no lease) is free, so
# that it does not make the name unavailable for ever. The own lease is free too: it is met if the connection was lost,
# and redis-py repeated the command, or if the owner changes its claim.
_READ_LEASE: Final = """
local function read_lease(key, owner, lifetime)
  local value = redis.pcall('GET', key)
  if type(value) ~= 'string' then value = '' end
  local milliseconds = redis.call('PTTL', key)
  local is_held = #value <= 120 and string.match(value, '^h%x+ %d+ %d+ %x+ %x+ %d+$')
    and milliseconds >= 0 and milliseconds <= tonumber(lifetime)
    and string.sub(value, 1, #owner + 2) ~= 'h' .. owner .. ' '
  return value, is_held
end
"""

# Acquires the leases that are free. Guarantees:
# - Tokens grow: INCR and the leases are one atomic step, so that of two processes the later one has the larger token.
# - At most one holder per key: a key that holds another owner's lease is left alone; any other value is overwritten.
# - The holders are returned, and of the other keys the first letter, which tells a lease that has just ended.
# KEYS: counter, leases. ARGV: milliseconds, owner, claim. Result: token; for each key the lease that is held, or the
# first letter of the value that was overwritten ('' if none).
ACQUIRE_SCRIPT: Final = f"""{_COUNT_LEASES}{_READ_LEASE}
local token = next_token(KEYS[1])
local lease = as_lease(token, ARGV[2], ARGV[3])
local result = {{token}}
for i = 2, #KEYS do
  local value, is_held = read_lease(KEYS[i], ARGV[2], ARGV[1])
  if is_held then
    result[i] = value
  else
    redis.call('SET', KEYS[i], lease, 'PX', ARGV[1])
    result[i] = string.sub(value, 1, 1)
  end
end
return result
"""

# Extends the leases of this owner. Comparing and extending are one atomic step: a lease that expired and was acquired
# by another process in between is not extended.
# KEYS: leases. ARGV: 'h<owner> ', milliseconds.
RENEW_SCRIPT: Final = """
for i = 1, #KEYS do
  local value = redis.pcall('GET', KEYS[i])
  if type(value) == 'string' and string.sub(value, 1, #ARGV[1]) == ARGV[1] then
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
end
"""

# Replaces the leases of this owner by the outcome, or deletes them if there is none to share. Comparing and replacing
# are one atomic step, for the same reason. `first`: the place of the first of the leases, which are the last keys.
_RELEASE: Final = """
local function release(first, own_head, outcome, milliseconds)
  for i = first, #KEYS do
    local value = redis.pcall('GET', KEYS[i])
    if type(value) == 'string' and string.sub(value, 1, #own_head) == own_head then
      if outcome == '' then
        redis.call('DEL', KEYS[i])
      else
        redis.call('SET', KEYS[i], outcome, 'PX', milliseconds)
      end
    end
  end
end
"""

# KEYS: leases. ARGV: 'h<owner> ', outcome ('d<owner>', 'f<owner> <error>' or ''), milliseconds.
RELEASE_SCRIPT: Final = f"""{_RELEASE}
release(1, ARGV[1], ARGV[2], ARGV[3])
"""

# Reads several leases at once. MGET returns nil for a key of another type, which counts as a lease that has ended.
# It runs as a script because the connection only runs scripts.
READ_LEASES_SCRIPT: Final = "return redis.call('MGET', unpack(KEYS))"

# --- Records (see `redis_records.py` for their keys and values) ---

# Reads what is known of a page at one moment, with the time when its scope was dropped and the selections. `pcall`
# returns an error table for a poisoned key, whose length is 0: it counts as empty. MGET returns nil for such a key.
# - Of the bodies, those of one window and the one of columns are returned. If all of them are too old for the caller,
#   the youngest of the other windows is, because its columns can be used.
# - No body is returned if that is too old, too. The caller then gets the lease of the page as well, if that is free
#   and the caller wants it: since both are one step, no other process can have written the page in between.
# KEYS: dropped, page, selections, counter, lease. ARGV: window, microseconds after which a body must have been fetched;
# milliseconds, owner ('' if no lease is wanted) and claim of the lease. Result: a text, the fields and values of the
# selections, those of the bodies, and the token of the lease (0 if it was not acquired).
READ_PAGE_SCRIPT: Final = f"""{_COUNT_LEASES}{_READ_LEASE}
local result = redis.call('MGET', KEYS[1])
local selected = redis.pcall('HGETALL', KEYS[3])
result[2] = selected.err and {{}} or selected
local all, bodies, other, youngest, youngest_other = redis.pcall('HGETALL', KEYS[2]), {{}}, {{}}, 0, 0
for j = 1, #all, 2 do
  local fetched = tonumber(string.match(all[j + 1], '^%d+ (%d+) ') or 0)
  if all[j] == 'columns' or string.sub(all[j], 1, #ARGV[1]) == ARGV[1] then
    bodies[#bodies + 1] = all[j]
    bodies[#bodies + 1] = all[j + 1]
    youngest = math.max(youngest, fetched)
  elseif fetched > youngest_other then
    youngest_other, other = fetched, {{all[j], all[j + 1]}}
  end
end
local since = tonumber(ARGV[2])
result[3] = youngest > since and bodies or youngest_other > since and other or {{}}
result[4] = 0
if #result[3] == 0 and ARGV[4] ~= '' then
  local _, is_held = read_lease(KEYS[5], ARGV[4], ARGV[3])
  if not is_held then
    result[4] = next_token(KEYS[4])
    redis.call('SET', KEYS[5], as_lease(result[4], ARGV[4], ARGV[5]), 'PX', ARGV[3])
  end
end
return result
"""

# Writes the time of the drop. Records are not deleted: readers ignore what is older than this, also what a slow process
# writes afterwards.
# KEYS: dropped. ARGV: microseconds, milliseconds to live.
DROP_SCOPE_SCRIPT: Final = "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])"

# KEYS: pages and sessions.
DELETE_SCRIPT: Final = "redis.call('DEL', unpack(KEYS))"

# Writes selections into a hash, atomically with its expiry, so that no hash stays for ever. A session's hash has
# columns and statistics beside the selections: its expiry is extended, never shortened. A hash of 128 fields, which
# many windows fill, gets no more of them. A poisoned key, of another type, is deleted first. The fields are the last
# arguments.
_RECORD_SELECTION: Final = """
local function record_selection(key, lifetime, value, first)
  if redis.call('TYPE', key).ok ~= 'hash' then redis.call('DEL', key) end
  if redis.call('HLEN', key) < 128 then
    for j = first, #ARGV do redis.call('HSET', key, ARGV[j], value) end
  end
  if redis.call('PTTL', key) < tonumber(lifetime) then redis.call('PEXPIRE', key, lifetime) end
end
"""

# KEYS: hashes. ARGV: milliseconds to live, value, fields.
RECORD_SELECTION_SCRIPT: Final = f"""{_RECORD_SELECTION}
for i = 1, #KEYS do record_selection(KEYS[i], ARGV[1], ARGV[2], 3) end
"""

# Reads sessions at one moment, with the time when their scope was dropped. Only the columns and the fields of one
# window are returned. `pcall` returns an error table for a poisoned key, whose length is 0: the session counts as not
# cached.
# KEYS: dropped, sessions. ARGV: window. Result: a text, and fields and values of each hash.
READ_SESSIONS_SCRIPT: Final = """
local result = redis.call('MGET', KEYS[1])
for i = 2, #KEYS do
  local all, fields = redis.pcall('HGETALL', KEYS[i]), {}
  for j = 1, #all, 2 do
    if all[j] == 'columns' or string.sub(all[j], 1, #ARGV[1]) == ARGV[1] then
      fields[#fields + 1] = all[j]
      fields[#fields + 1] = all[j + 1]
    end
  end
  result[i] = fields
end
return result
"""

# Whether a stored value is newer than the one to be written: if its fencing token is larger *and* it was fetched later.
# The token alone orders leases, not fetches (a poisoned counter may restart), and the time alone depends on two hosts'
# clocks. A time in the future (after `latest`) is none.
_IS_NEWER: Final = """
local function is_newer(value, token, fetched, latest)
  if type(value) ~= 'string' then return false end
  local its_token, its_fetched = string.match(value, '^(%d+) (%d+) ')
  its_token, its_fetched = tonumber(its_token), tonumber(its_fetched)
  return its_token and its_token > token and its_fetched > fetched and its_fetched <= latest
end
local function delete_old(key, oldest)
  local all = redis.call('HGETALL', key)
  for j = 1, #all, 2 do
    local its_fetched = string.match(all[j + 1], '^%d+ (%d+) ')
    if not its_fetched or tonumber(its_fetched) < oldest then redis.call('HDEL', key, all[j]) end
  end
  return all
end
"""

# Writes a page, records what clients selected of it, and releases the leases. Guarantees:
# - All or nothing, and whoever waits for the lease finds the page.
# - A newer value stays.
# - A body that was fetched earlier with no other statistics over the same window is deleted: it is of no more use.
# - A hash does not grow without end: beyond 8 bodies, those that are older than the lifetime are deleted. If more than
#   8 are left, because clients ask for many windows, all but the written one are.
# - Poisoned keys (of another type, with values that cannot be read, or with times in the future) are overwritten.
# KEYS: page, selections, leases. ARGV: token, milliseconds to live, microseconds of the fetch, the latest time that a
# value can have (microseconds), field, body (in two parts), number of the field's letters that name its window (0 for
# columns); milliseconds to live of the selections, their value; 'h<owner> ', outcome, milliseconds of the outcome;
# fields of the selections.
WRITE_PAGE_SCRIPT: Final = f"""{_IS_NEWER}{_RECORD_SELECTION}{_RELEASE}
local key, token, lifetime, fetched = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local field, length = ARGV[5], tonumber(ARGV[8])
if redis.call('TYPE', key).ok ~= 'hash' then redis.call('DEL', key) end
if not is_newer(redis.call('HGET', key, field), token, fetched, tonumber(ARGV[4])) then
  redis.call('HSET', key, field, ARGV[1] .. ' ' .. ARGV[3] .. ' ' .. ARGV[6] .. ARGV[7])
  if length > 0 then
    local bits = tonumber(string.sub(field, length + 1), 16)
    for _, other in ipairs(redis.call('HKEYS', key)) do
      local its_bits = string.sub(other, 1, length) == string.sub(field, 1, length)
        and other ~= field and tonumber(string.sub(other, length + 1), 16)
      if its_bits and bit.band(its_bits, bits) == its_bits then
        local its_fetched = string.match(redis.call('HGET', key, other), '^%d+ (%d+) ')
        if not its_fetched or tonumber(its_fetched) <= fetched then redis.call('HDEL', key, other) end
      end
    end
  end
end
if redis.call('HLEN', key) > 8 then
  delete_old(key, fetched - lifetime * 1000)
  if redis.call('HLEN', key) > 8 then
    for _, other in ipairs(redis.call('HKEYS', key)) do
      if other ~= field then redis.call('HDEL', key, other) end
    end
  end
end
redis.call('PEXPIRE', key, lifetime)
if #ARGV > 13 then record_selection(KEYS[2], ARGV[9], ARGV[10], 14) end
release(3, ARGV[11], ARGV[12], ARGV[13])
"""

# Writes sessions that were looked up by id, and releases the leases. Guarantees:
# - All or nothing, and whoever waits for a lease finds the session.
# - A newer value stays.
# - Statistics are only written where there are any: a session that does not exist has none.
# - A hash does not grow without end: beyond 16 fields, those that are older than the lifetime are deleted. If more than
#   128 are left, because clients ask for many windows, all but the written ones are.
# - Poisoned keys are overwritten, as with a page.
# KEYS: sessions, leases. ARGV: token, milliseconds to live, microseconds of the fetch, the latest time that a value can
# have (microseconds), field of the statistics ('' if none), number of sessions; 'h<owner> ', outcome, milliseconds of
# the outcome; then columns and statistics of each session.
WRITE_SESSIONS_SCRIPT: Final = f"""{_IS_NEWER}{_RELEASE}
local token, lifetime, fetched, latest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local field, count = ARGV[5], tonumber(ARGV[6])
local head = ARGV[1] .. ' ' .. ARGV[3] .. ' '
for i = 1, count do
  local key, columns, statistics = KEYS[i], ARGV[2 * i + 8], ARGV[2 * i + 9]
  if redis.call('TYPE', key).ok ~= 'hash' then redis.call('DEL', key) end
  if not is_newer(redis.call('HGET', key, 'columns'), token, fetched, latest) then
    redis.call('HSET', key, 'columns', head .. columns)
  end
  if field ~= '' and statistics ~= '' and not is_newer(redis.call('HGET', key, field), token, fetched, latest) then
    redis.call('HSET', key, field, head .. statistics)
  end
  if redis.call('HLEN', key) > 16 then
    local all = delete_old(key, fetched - lifetime * 1000)
    if redis.call('HLEN', key) > 128 then
      for j = 1, #all, 2 do
        if all[j] ~= 'columns' and all[j] ~= field then redis.call('HDEL', key, all[j]) end
      end
    end
  end
  redis.call('PEXPIRE', key, lifetime)
end
release(count + 1, ARGV[7], ARGV[8], ARGV[9])
"""
