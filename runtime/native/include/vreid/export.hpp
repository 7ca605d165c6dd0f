// What libvreid shows to others: a class or function without VREID_API stays inside.
#pragma once

#ifndef VREID_API
#define VREID_API __attribute__((visibility("default")))
#endif
