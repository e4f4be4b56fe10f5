-- Names for the array types of the flush's parameters, so that the driver can be given encoders for them.
create domain headrace.int8_array as bigint[];
create domain headrace.bytea_array as bytea[];
