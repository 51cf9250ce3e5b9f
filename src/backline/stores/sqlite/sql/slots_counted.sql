-- slots_counted: when the slots that are taken were last counted.
--   in     nothing
--   out    the time, or no row
--   locks  none
--   index  the primary key of meta
select cast(value as integer) from meta where name = 'slots_counted'
