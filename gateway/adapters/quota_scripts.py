"""The Lua scripts of the Redis quota: each is one atomic step over all keys of a call.

A window is a hash: `t` = units used by all streams, `p` = the most `t` ever was (thresholds are
crossed there, once), `s:<stream>` = what one stream used, so that a crashed one can be settled.
The set `<prefix>streams:<stream>` names the windows that hold a field of it. A bucket is a hash:
`l` = tokens times per, `a` = when it was refilled. Times and bounds are arguments: the product's
clock decides, never Redis's. Numbers are doubles in Lua and stay below 2^53.
"""

from typing import Final

_NUMBERS: Final = """
local function put(x) return string.format('%.0f', x) end
local function field(key, name) return tonumber(redis.call('HGET', key, name) or '0') end
"""

TAKE: Final = (
    _NUMBERS
    + """
-- KEYS[1]: the stream's index; KEYS[2..]: one per charge
-- ARGV: stream, mode ('take' or 'peek'), then per charge
--   'w', units, limit (-1 = none), keep_ms
--   'b', units, rate, per, burst, now (in the bucket's own steps), keep_ms
-- answer: refusing charge (0 = none), then per charge
--   window: used, peak before, peak after; bucket: level, per, 0
local own, mode = 's:' .. ARGV[1], ARGV[2]
local charges, asked, buckets, refusing = {}, {}, {}, 0
local at = 3
for i = 2, #KEYS do
  local key = KEYS[i]
  local kind, units = ARGV[at], tonumber(ARGV[at + 1])
  local charge = {key = key, kind = kind, units = units}
  asked[key] = (asked[key] or 0) + units
  if kind == 'w' then
    charge.limit, charge.keep = tonumber(ARGV[at + 2]), ARGV[at + 3]
    charge.used, charge.peak = field(key, 't'), field(key, 'p')
    at = at + 4
    if charge.limit >= 0 and units > 0 and charge.used + asked[key] > charge.limit then
      if refusing == 0 then refusing = i - 1 end
    end
  else
    local rate, per, burst = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    local now = tonumber(ARGV[at + 5])
    charge.keep = ARGV[at + 6]
    at = at + 7
    local bucket = buckets[key]
    if not bucket then
      local full = burst * per
      bucket = {level = full, at = now, per = per}
      local stored = redis.call('HMGET', key, 'l', 'a')
      if stored[1] then
        bucket.level, bucket.at = tonumber(stored[1]), tonumber(stored[2])
        local steps = now - bucket.at
        if steps > 0 then
          local need = math.ceil((full - bucket.level) / rate)
          if steps >= need then bucket.level = full
          else bucket.level = bucket.level + steps * rate end
          bucket.at = now
        end
      end
      buckets[key] = bucket
    end
    charge.bucket = bucket
    if units > 0 and asked[key] * per > bucket.level then
      if refusing == 0 then refusing = i - 1 end
    end
  end
  charges[#charges + 1] = charge
end
local taking = mode == 'take' and refusing == 0
local answer = {refusing}
for _, charge in ipairs(charges) do
  local key = charge.key
  if charge.kind == 'w' then
    local used, before, after = charge.used, charge.peak, charge.peak
    if taking and charge.units > 0 then
      used = field(key, 't') + charge.units
      before = field(key, 'p')
      after = math.max(before, used)
      if redis.call('HEXISTS', key, own) == 0 then redis.call('SADD', KEYS[1], key) end
      redis.call('HSET', key, 't', put(used), 'p', put(after), own,
        put(field(key, own) + charge.units))
      if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, charge.keep) end
    end
    answer[#answer + 1] = used
    answer[#answer + 1] = before
    answer[#answer + 1] = after
  else
    local bucket = charge.bucket
    if taking then
      bucket.level = bucket.level - charge.units * bucket.per
      redis.call('HSET', key, 'l', put(bucket.level), 'a', put(bucket.at))
      redis.call('PEXPIRE', key, charge.keep)
    end
    answer[#answer + 1] = bucket.level
    answer[#answer + 1] = bucket.per
    answer[#answer + 1] = 0
  end
end
return answer
"""
)
"""A refusal writes nothing. The levels of a bucket that appears twice are those after both."""

GIVE_BACK: Final = (
    _NUMBERS
    + """
-- KEYS[1]: the number of the stream's last give-back; KEYS[2..]: windows
-- ARGV: stream, number, keep_ms, units per window
local own, number = 's:' .. ARGV[1], tonumber(ARGV[2])
if tonumber(redis.call('GET', KEYS[1]) or '0') >= number then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
for i = 2, #KEYS do
  local held = field(KEYS[i], own)
  local units = math.min(tonumber(ARGV[i + 2]), held)
  if units > 0 then
    redis.call('HSET', KEYS[i], own, put(held - units), 't', put(field(KEYS[i], 't') - units))
  end
end
return 1
"""
)
"""Numbered per stream, so that a repeated one (its answer was lost) changes nothing."""

SETTLE: Final = (
    _NUMBERS
    + """
-- KEYS[1]: the stream's index; KEYS[2..]: windows that its spool speaks of
-- ARGV: stream, then per window units, keep_ms
local own, said = 's:' .. ARGV[1], {}
local function set(key, units)
  local t = field(key, 't') + units - field(key, own)
  redis.call('HSET', key, own, put(units), 't', put(t), 'p', put(math.max(t, field(key, 'p'))))
end
for i = 2, #KEYS do
  said[KEYS[i]] = true
  set(KEYS[i], tonumber(ARGV[2 * i - 2]))
  if redis.call('PTTL', KEYS[i]) < 0 then redis.call('PEXPIRE', KEYS[i], ARGV[2 * i - 1]) end
end
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if not said[key] and redis.call('HEXISTS', key, own) == 1 then set(key, 0) end
end
redis.call('DEL', KEYS[1])
return #KEYS - 1
"""
)
"""Sets a dead stream's fields to what its spool says, absolutely; repeating it changes nothing."""
