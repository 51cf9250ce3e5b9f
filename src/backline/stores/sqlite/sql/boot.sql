-- boot: the boot that the ticks in this file count from.
--   in     nothing
--   out    its name, or no row
--   locks  none
--   index  the primary key of meta
select cast(value as blob) from meta where name = 'boot'
