import { ADDRESS } from "./browser";
import { testPageAt } from "./elsewhere";

testPageAt(ADDRESS);
