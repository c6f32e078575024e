"""What Redis does in one step (Lua). Names are `{key}`, a hash, and `{key}:lock`, a string that expires.

The hash has `data`, the session; `line`, the SHA-1 of these data and the line of that session; `fence`, the number of
the last grant of the lock; `holder`, who got it; `free`, the holder who let go of it; `spared`, the holder for whom the
lock was held after his lease ran out. They are in one place so that a Redis that forgets, forgets them together.
Versions that know nothing of `line` write `data` alone: the digest tells.
"""

from __future__ import annotations

from typing import Final

#: Arguments: holder, lease in ms, ms for which the last holder is spared. Returns the fence, or 0 and for how long the
#: lock is held still, in ms. The holder of a lease that ran out, or that a restarted Redis forgot, may have something
#: to save: the first who asks is told to wait, once, and holds the lock for him.
ACQUIRE: Final = """
if redis.call('EXISTS', KEYS[2]) == 1 then
  return {0, redis.call('PTTL', KEYS[2])}
end
local last, free, spared = unpack(redis.call('HMGET', KEYS[1], 'holder', 'free', 'spared'))
if last and last ~= free and last ~= spared then
  redis.call('SET', KEYS[2], last, 'PX', ARGV[3])
  redis.call('HSET', KEYS[1], 'spared', last)
  return {0, tonumber(ARGV[3])}
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('HSET', KEYS[1], 'holder', ARGV[1])
redis.call('HDEL', KEYS[1], 'free', 'spared')
return {redis.call('HINCRBY', KEYS[1], 'fence', 1), 0}
"""

#: Arguments: holder, lease in ms, fence. A lease that ran out, or that a restarted Redis forgot, is taken up again,
#: unless somebody else has had the lock since, or it was let go of. Returns 1 while it is held. What line an older
#: state was of says nothing of who signed in or out since.
RENEW: Final = """
local holder = redis.call('GET', KEYS[2])
if holder == ARGV[1] then
  redis.call('HDEL', KEYS[1], 'spared')
  return redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
local fence, last, free = unpack(redis.call('HMGET', KEYS[1], 'fence', 'holder', 'free'))
fence = tonumber(fence or '0')
local mine = tonumber(ARGV[3])
if holder or fence > mine or (fence == mine and (last ~= ARGV[1] or free == ARGV[1])) then
  return 0
end
if fence < mine then
  redis.call('HDEL', KEYS[1], 'line')
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('HSET', KEYS[1], 'fence', ARGV[3], 'holder', ARGV[1])
redis.call('HDEL', KEYS[1], 'free', 'spared')
return 1
"""

#: Arguments: data, holder, fence, channel, line, 1 for a deed or 0, the line that it must follow. Compare and set:
#: refused (0) once the lock was granted to somebody else, and (-1) where there is another line than the last argument.
#: A Redis that went back to an older state has granted a lower fence, and takes what is newer. No holder: whoever it
#: is. A deed goes in over whatever is there.
SAVE: Final = """
local fence = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0')
local mine = tonumber(ARGV[3])
local held = ARGV[2] ~= ''
if held and (fence > mine or (fence == mine and redis.call('HGET', KEYS[1], 'holder') ~= ARGV[2])) then
  return 0
end
if ARGV[6] == '0' and not (held and fence < mine) then
  local data, line = unpack(redis.call('HMGET', KEYS[1], 'data', 'line'))
  local known = data and line and string.sub(line, 1, 41) == redis.sha1hex(data) .. ' '
  if known and string.sub(line, 42) ~= ARGV[7] then
    return -1
  end
end
if held then
  redis.call('HSET', KEYS[1], 'fence', ARGV[3], 'holder', ARGV[2])
end
redis.call('HSET', KEYS[1], 'data', ARGV[1], 'line', redis.sha1hex(ARGV[1]) .. ' ' .. ARGV[5])
redis.call('PUBLISH', ARGV[4], 'news')
return 1
"""

#: Arguments: holder, channel, fence of a grant that was of no use, or 0. Lets go of a lock that is held still; one that
#: ran out is let go of as well. A number of no use is given back: somebody whom Redis forgot may have it too. And all
#: others are told to look what Redis holds.
RELEASE: Final = """
local held = redis.call('GET', KEYS[2]) == ARGV[1]
local last = redis.call('HGET', KEYS[1], 'holder') == ARGV[1]
if held then
  redis.call('DEL', KEYS[2])
end
if last and redis.call('HGET', KEYS[1], 'fence') == ARGV[3] then
  redis.call('HINCRBY', KEYS[1], 'fence', -1)
  redis.call('HDEL', KEYS[1], 'holder')
  redis.call('PUBLISH', ARGV[2], 'news')
elseif held or last then
  redis.call('HSET', KEYS[1], 'free', ARGV[1])
else
  return 0
end
redis.call('PUBLISH', ARGV[2], 'free')
return 1
"""
