"""Lua scripts of the second tier. Redis runs each as one atomic step: no other command runs in between.

All keys of a call carry the same scope as their hash tag, as Redis Cluster demands of a script. A key is *poisoned* if
it holds another type, or a value that cannot be read, for example because another program wrote it. `redis.call` would
abort the script for such a key every time; `redis.pcall` returns the error as a value, so that the script goes on
without the key, or overwrites it.
"""

from typing import Final

# --- Leases (see `leases.py` for the format of their values) ---

# Acquires the leases that are free. Guarantees:
# - Tokens grow: INCR and the leases are one atomic step, so that of two processes the later one has the larger token.
# - At most one holder per key: a key that holds a lease is left alone; any other value is overwritten.
# - Nobody waits for a lease without an end: a lease that does not expire within its lifetime was not written here.
# - The holders are returned, and of the other keys the first letter, which tells a lease that has just ended.
# `pcall` returns an error instead of aborting the script. A poisoned key (another type, a value that is no lease, or a
# counter that is no number or beyond those that Lua holds exactly) must not make leases unavailable for ever: a
# poisoned lease is overwritten, and a poisoned counter starts again at the seconds since the epoch, a number that
# counting leases does not reach.
# The counter expires after a day without leases. A value that was written before may outlive it if pages are kept for
# longer than that; it is then overwritten all the same, because WRITE_SCRIPT compares the times too.
# KEYS: counter, leases. ARGV: milliseconds, owner, claim. Result: token; for each key the lease that is held, or the
# first letter of the value that was overwritten ('' if none).
ACQUIRE_SCRIPT: Final = """
local token = redis.pcall('INCR', KEYS[1])
if type(token) ~= 'number' or token < 1 or token > 9e15 then
  token = tonumber(redis.call('TIME')[1])
  redis.call('SET', KEYS[1], string.format('%.0f', token))
end
redis.call('EXPIRE', KEYS[1], 86400)
local lease = 'h' .. ARGV[2] .. ' ' .. string.format('%.0f', token) .. ' ' .. ARGV[3]
local result = {token}
for i = 2, #KEYS do
  local value = redis.pcall('GET', KEYS[i])
  if type(value) ~= 'string' then value = '' end
  local milliseconds = redis.call('PTTL', KEYS[i])
  if #value <= 120 and string.match(value, '^h%x+ %d+ %d+ %x+ %x+ %d+$')
    and milliseconds >= 0 and milliseconds <= tonumber(ARGV[1]) then
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
# are one atomic step, for the same reason.
# KEYS: leases. ARGV: 'h<owner> ', outcome ('d<owner>', 'f<owner> <error>' or ''), milliseconds.
RELEASE_SCRIPT: Final = """
for i = 1, #KEYS do
  local value = redis.pcall('GET', KEYS[i])
  if type(value) == 'string' and string.sub(value, 1, #ARGV[1]) == ARGV[1] then
    if ARGV[2] == '' then
      redis.call('DEL', KEYS[i])
    else
      redis.call('SET', KEYS[i], ARGV[2], 'PX', ARGV[3])
    end
  end
end
"""

# Reads several leases at once. MGET returns nil for a key of another type, which counts as a lease that has ended.
# It runs as a script because the connection only runs scripts.
READ_LEASES_SCRIPT: Final = "return redis.call('MGET', unpack(KEYS))"

# --- Records (see `redis_records.py` for their keys and values) ---

# Reads both records of a page at one moment, with the time when its scope was dropped and the selections. `pcall`
# returns an error for a key of another type, instead of aborting the script: a poisoned hash counts as no selections.
# MGET returns nil for such a key.
# KEYS: dropped, page, page of columns, selections. Result: three texts, and the fields and values of the hash.
READ_PAGE_SCRIPT: Final = """
local result = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3])
local selected = redis.pcall('HGETALL', KEYS[4])
result[4] = selected.err and {} or selected
return result
"""

# Writes the time of the drop. Records are not deleted: readers ignore what is older than this, also what a slow process
# writes afterwards.
# KEYS: dropped. ARGV: microseconds, milliseconds to live.
DROP_SCOPE_SCRIPT: Final = "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])"

# KEYS: pages and sessions.
DELETE_SCRIPT: Final = "redis.call('DEL', unpack(KEYS))"

# Writes selections into hashes, atomically with their expiry, so that no hash stays for ever. A session's hash has
# columns and statistics beside the selections: its expiry is extended, never shortened. A hash of 128 fields, which
# many windows fill, gets no more of them. A poisoned key, of another type, is deleted first.
# KEYS: hashes. ARGV: milliseconds to live, value, fields.
RECORD_SELECTION_SCRIPT: Final = """
for i = 1, #KEYS do
  if redis.call('TYPE', KEYS[i]).ok ~= 'hash' then redis.call('DEL', KEYS[i]) end
  if redis.call('HLEN', KEYS[i]) < 128 then
    for j = 3, #ARGV do redis.call('HSET', KEYS[i], ARGV[j], ARGV[2]) end
  end
  if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
end
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

# Writes an answer of LangSmith: a page, and its sessions. Guarantees:
# - All or nothing: no reader sees a page without its sessions.
# - A newer value stays. It is newer if its fencing token is larger *and* it was fetched later: the token alone orders
#   leases, not fetches (a poisoned counter may restart), and the time alone depends on two hosts' clocks.
# - Statistics are only written where there are any: a session that does not exist has none.
# - A hash does not grow without end: beyond 16 fields, those that are older than the lifetime are deleted. If more than
#   128 are left, because clients ask for many windows, all but the written ones are.
# - Poisoned keys (of another type, with values that cannot be read, or with times in the future) are overwritten.
#   `pcall` returns the error of a poisoned page key instead of aborting the script.
# KEYS: page, sessions. ARGV: token, milliseconds to live, microseconds of the fetch, the latest time that a value can
# have (microseconds), page ('' if none), field of the statistics ('' if none); then columns and statistics of each
# session.
WRITE_SCRIPT: Final = """
local token, lifetime, fetched, latest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local page, field = ARGV[5], ARGV[6]
local head = ARGV[1] .. ' ' .. ARGV[3] .. ' '
local function is_newer(value)
  if type(value) ~= 'string' then return false end
  local its_token, its_fetched = string.match(value, '^(%d+) (%d+) ')
  its_token, its_fetched = tonumber(its_token), tonumber(its_fetched)
  return its_token and its_token > token and its_fetched > fetched and its_fetched <= latest
end
if page ~= '' and not is_newer(redis.pcall('GET', KEYS[1])) then
  redis.call('SET', KEYS[1], head .. page, 'PX', lifetime)
end
for i = 2, #KEYS do
  local key, columns, statistics = KEYS[i], ARGV[2 * i + 3], ARGV[2 * i + 4]
  if redis.call('TYPE', key).ok ~= 'hash' then redis.call('DEL', key) end
  if not is_newer(redis.call('HGET', key, 'columns')) then redis.call('HSET', key, 'columns', head .. columns) end
  if field ~= '' and statistics ~= '' and not is_newer(redis.call('HGET', key, field)) then
    redis.call('HSET', key, field, head .. statistics)
  end
  if redis.call('HLEN', key) > 16 then
    local all = redis.call('HGETALL', key)
    for j = 1, #all, 2 do
      local its_fetched = string.match(all[j + 1], '^%d+ (%d+) ')
      if not its_fetched or tonumber(its_fetched) < fetched - lifetime * 1000 then redis.call('HDEL', key, all[j]) end
    end
    if redis.call('HLEN', key) > 128 then
      for j = 1, #all, 2 do
        if all[j] ~= 'columns' and all[j] ~= field then redis.call('HDEL', key, all[j]) end
      end
    end
  end
  redis.call('PEXPIRE', key, lifetime)
end
"""
