-- Destroys the snapshots that are named, all or none. Those that are gone already do not count. Returns why for each that cannot be destroyed.
args = ...
refused = {}
doomed = {}
for _, name in ipairs(args["argv"]) do
	-- dsl_destroy_snapshot_check_impl in module/zfs/dsl_destroy.c: EBUSY for a hold of a user as for one of the kernel, EEXIST for a clone.
	errno = zfs.check.destroy(name)
	if errno == 0 then
		doomed[#doomed + 1] = name
	elseif errno == EBUSY and zfs.get_prop(name, "userrefs") > 0 then
		refused[name] = "held"
	elseif errno == EBUSY then
		refused[name] = "busy"
	elseif errno == EEXIST then
		refused[name] = "cloned"
	elseif errno ~= ENOENT then
		refused[name] = tostring(errno)
	end
end
if next(refused) == nil then
	for _, name in ipairs(doomed) do
		errno = zfs.sync.destroy(name)
		if errno ~= 0 then
			error("destroy " .. name .. ": errno " .. errno)
		end
	end
end
return refused
