-- slots_corrected: how often counts of slots were corrected.
--   in     nothing
--   out    the number, or no row
--   locks  none
--   index  the primary key of meta
select cast(value as integer) from meta where name = 'slots_corrected'
