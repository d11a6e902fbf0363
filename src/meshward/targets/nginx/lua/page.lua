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

local C = ffi.C
local SIZE = 4096 -- bytes
local O_RDONLY_CLOEXEC, PROT_READ, MAP_SHARED = 0x80000, 1, 1
local AT_FDCWD, AT_EMPTY_PATH, INO_AND_SIZE = -100, 0x1000, 0x300 -- statx(2)
local FAILED = ffi.cast("void *", -1)

local about = ffi.new("uint64_t[32]") -- struct statx: the same on every machine
local INO, BYTES, DEV = 4, 5, 17 -- which of its words
local fd, words = -1, nil
local ino, dev = 0, 0 -- of the page that is mapped
local generation, generation_text = 0, nil

-- Whether the page that is mapped is the one of that name, and whole. Asked before it is touched: to read behind the
-- end of a file that was cut kills the worker.
local function stands()
    return C.statx(AT_FDCWD, settings.page, 0, INO_AND_SIZE, about) == 0
        and about[INO] == ino and about[DEV] == dev and about[BYTES] == SIZE
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
    if fd < 0 or C.statx(fd, "", AT_EMPTY_PATH, INO_AND_SIZE, about) ~= 0 or about[BYTES] ~= SIZE then
        return
    end
    ino, dev = about[INO], about[DEV]
    local found = C.mmap(nil, SIZE, PROT_READ, MAP_SHARED, fd, 0)
    if found ~= FAILED then
        words = ffi.cast("volatile uint64_t *", found)
    end
end

local M = {}

-- The epoch, which counts everything that ends remembered decisions, and the generation of the certificates, in digits.
-- nil in place of either: nobody knows.
function M.read()
    if not (words and stands() and words[0] ~= 0) then
        map()
        if not words then
            return nil, nil
        end
    end
    local found = words[1]
    if found ~= generation then
        generation, generation_text = found, found ~= 0 and string.format("%d", tonumber(found)) or nil
    end
    local epoch = words[0]
    return epoch ~= 0 and tonumber(epoch) or nil, generation_text
end

return M
