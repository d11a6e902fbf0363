-- The page through which meshward speaks to every worker at once: the epoch, and which certificates are to be shown.
-- A file of one page, mapped: a change is seen by the next request. 0 says that nobody knows, and so does a file that
-- is gone, that has another size, or that another one took the place of, until that one is mapped. Then all is refused.

local ffi = require "ffi"
local settings = require "settings"

ffi.cdef [[
int open(const char *path, int flags, ...);
int close(int fd);
void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset);
int munmap(void *addr, size_t length);
int statx(int dirfd, const char *path, int flags, unsigned int mask, void *about);
]]

local C, now = ffi.C, ngx.now
local SIZE = 4096 -- bytes
local O_RDONLY_CLOEXEC, PROT_READ, MAP_SHARED = 0x80000, 1, 1
local AT_FDCWD, AT_EMPTY_PATH, NLINK_INO_SIZE = -100, 0x1000, 0x304 -- statx(2)
local FAILED = ffi.cast("void *", -1)

local about = ffi.new("uint64_t[32]") -- struct statx: the same on every machine
local NLINK, INO, BYTES, DEV = 2, 4, 5, 17 -- which of its words; NLINK is the low half of its own
local names = ffi.cast("uint32_t *", about + NLINK)
local fd, words = -1, nil
local ino, dev = 0, 0 -- of the page that is mapped
local looked = 0 -- when it was last found by its name
local generation, generation_text = 0, nil

local function whole()
    return C.statx(fd, "", AT_EMPTY_PATH, NLINK_INO_SIZE, about) == 0 and about[BYTES] == SIZE and names[0] > 0
end

-- Whether the page that is mapped has our name. One that another took the place of has none; so this sees only one
-- that was carried off, and may take a millisecond.
local function named()
    local at = now()
    if at ~= looked then
        if C.statx(AT_FDCWD, settings.page, 0, NLINK_INO_SIZE, about) ~= 0 or about[INO] ~= ino or about[DEV] ~= dev then
            return false
        end
        looked = at
    end
    return true
end

local function leave()
    if words then
        C.munmap(ffi.cast("void *", words), SIZE)
        words = nil
    end
    if fd >= 0 then
        C.close(fd)
        fd = -1
    end
end

local function map()
    leave()
    fd = C.open(settings.page, O_RDONLY_CLOEXEC)
    if fd < 0 or not whole() then
        return
    end
    ino, dev = about[INO], about[DEV]
    local found = C.mmap(nil, SIZE, PROT_READ, MAP_SHARED, fd, 0)
    if found ~= FAILED then
        words = ffi.cast("volatile uint64_t *", found)
    end
end

-- The epoch and the generation, as the mapped page says them.
local function said()
    local found = words[1]
    if found ~= generation then
        generation, generation_text = found, found ~= 0 and string.format("%d", tonumber(found)) or nil
    end
    local epoch = words[0]
    return epoch ~= 0 and tonumber(epoch) or nil, generation_text
end

local M = {}

-- The epoch, which counts everything that ends remembered decisions, and the generation of the certificates, in digits.
-- nil in place of either: nobody knows.
function M.read()
    -- Asked before it is touched: to read behind the end of a file that was cut kills the worker.
    if not (words and whole() and named() and words[0] ~= 0) then
        map()
        if not words then
            return nil, nil
        end
    end
    return said()
end

-- The same in the midst of a request: a page that was looked for in this millisecond is not looked for again.
function M.again()
    if words and now() == looked then
        return said()
    end
    return M.read()
end

return M
